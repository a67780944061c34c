"""Ranking base models: memory, licence, task, and the arithmetic behind it."""

from __future__ import annotations

import pytest

from tools.base import UsageError
from tools.models import RECOMMEND_MODELS, lora_parameters, parse_memory, resolve_catalogue, training_bytes


def test_only_what_fits_is_named() -> None:
    result = RECOMMEND_MODELS.call(task="classify tickets", memory="24GB")
    assert result.models
    for row in result.models:
        needed = row.lora_bytes if row.method == "lora" else row.qlora_bytes
        assert needed is not None
        assert needed <= 24e9


def test_a_permissive_licence_leaves_out_the_others() -> None:
    names = [row.name for row in RECOMMEND_MODELS.call(task="chat", licence="permissive").models]
    assert names
    assert not any(name.startswith("Llama") for name in names)
    assert "Qwen3.8-27B" not in names, "its licence is not known"


def test_the_words_of_the_task_count_as_arguments() -> None:
    said = RECOMMEND_MODELS.call(task="classify tickets on a T4, commercial use, prompts of 100k tokens")
    given = RECOMMEND_MODELS.call(task="classify tickets", memory="16GB", licence="permissive", context=102_400)
    assert [row.name for row in said.models] == [row.name for row in given.models]
    assert all(row.context is None or row.context >= 102_400 for row in said.models)
    assert "tokens of context" in said.text()
    assert "apache-2.0" in said.text()


def test_nothing_fits_a_tiny_memory() -> None:
    result = RECOMMEND_MODELS.call(memory="100MB")
    assert result.models == []
    assert "fits" in result.text()


def test_a_small_task_gets_a_small_model_and_a_hard_one_a_larger() -> None:
    small = RECOMMEND_MODELS.call(task="sentiment labels", memory="80GB").models[0]
    large = RECOMMEND_MODELS.call(task="reasoning over code with tools", memory="80GB").models[0]
    assert small.size_b is not None
    assert large.size_b is not None
    assert small.size_b < large.size_b


def test_four_bit_is_never_offered_where_it_is_not_advised() -> None:
    rows = RECOMMEND_MODELS.call(task="chat").models
    assert any(row.name.startswith("Qwen3.5") for row in rows)
    assert all(row.qlora_bytes is None for row in rows if row.name.startswith("Qwen3.5"))


def test_the_adapter_of_the_default_model_is_counted_exactly() -> None:
    row = resolve_catalogue("smollm2-135m-instruct")
    assert row is not None
    attention = (576 + 576) * 2 + (576 + 192) * 2
    assert lora_parameters(row, 16) == 16 * 30 * (attention + 3 * (576 + 1536))
    expected = (2 * 134_515_008 + 16 * 16 * 30 * (attention + 3 * (576 + 1536))) * 1.2 + 1e9
    assert training_bytes(row, "lora") == pytest.approx(expected)


def test_the_formula_agrees_with_published_minima() -> None:
    for name, method, published in (("Qwen3-8B", "lora", 22), ("Qwen3-8B", "qlora", 6), ("Qwen3.5-4B", "lora", 10)):
        row = resolve_catalogue(name)
        assert row is not None
        needed = training_bytes(row, "lora" if method == "lora" else "qlora")
        assert needed == pytest.approx(published * 1e9, rel=0.2)


@pytest.mark.parametrize(("text", "expected"), [("24GB", 24e9), ("24 GiB", 24 * 2**30), ("16000 mb", 16e9), ("8", 8e9)])
def test_memory_is_read(text: str, expected: float) -> None:
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["a lot", "24 apples", "", "-3GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_memory(text)


@pytest.mark.parametrize("name", ["SmolLM2-135M-Instruct", "huggingfacetb/smollm2-135m-instruct", " qwen/QWEN3-8B "])
def test_the_catalogue_knows_names_and_hub_ids(name: str) -> None:
    assert resolve_catalogue(name) is not None


def test_an_unknown_name_is_none() -> None:
    assert resolve_catalogue("no/such-model") is None


def test_sources_resolve() -> None:
    result = RECOMMEND_MODELS.call(task="chat", memory="24GB")
    assert {each for row in result.models for each in row.source} == {each["id"] for each in result.sources}
