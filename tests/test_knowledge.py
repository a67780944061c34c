"""The knowledge base is whole: every source resolves, every file is validated, nothing is slow."""

from __future__ import annotations

import re
import time
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from knowledge import load
from knowledge.search import search
from tools.situation import Situation

CARDS = load.cards()
DATED = [*[row for name in load.FACT_FILES for row in load.facts(name)], *load.models(), *load.licences(),
         *load.causes()]  # fmt: skip


def test_there_is_something_to_check() -> None:
    assert len(CARDS) >= 14
    assert len(DATED) > 100
    assert len(load.causes()) >= 35


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_card_cites_known_sources_and_names_a_next_step(card: load.Card) -> None:
    unknown = [each for each in card.citations() if each not in load.sources()]
    assert card.citations()
    assert unknown == []
    assert 120 <= len(card.body.split()) <= 350
    assert card.body.split("\n\n")[-1].startswith("Next:")
    assert card.intents
    assert (load.FOLDER / "cards" / f"{card.id}.md").exists()


def test_every_dated_row_cites_known_sources() -> None:
    unknown = [(row, each) for row in DATED for each in row.source if each not in load.sources()]
    assert unknown == []
    assert all(row.source for row in DATED)


def test_dates_are_in_order() -> None:
    wrong = [row for row in DATED if row.expires is not None and row.expires <= row.read_on]
    assert wrong == []


def test_ids_are_unique() -> None:
    files = [yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in (load.FOLDER / "sources").glob("*.yaml")]
    named = Counter(key for file in files for key in file)
    assert [key for key, times in named.items() if times > 1] == []
    assert len(named) == len(load.sources()) >= 80
    for name in load.FACT_FILES:
        ids = [row.id for row in load.facts(name)]
        assert len(ids) == len(set(ids)), name
    assert len({row.id for row in load.licences()}) == len(load.licences())
    assert len({row.name.lower() for row in load.models()}) == len(load.models())
    assert len({cause.id for cause in load.causes()}) == len(load.causes())


@pytest.mark.parametrize(
    "kind", [load.Fact, load.BaseModelRow, load.LicenceRow, load.Cause, load.Source, load.Card, load.Sign]
)
def test_unknown_keys_are_refused(kind: type[load.Fact]) -> None:
    with pytest.raises(ValidationError) as error:
        kind.model_validate({"surprise": 1})
    assert any(each["type"] == "extra_forbidden" and each["loc"] == ("surprise",) for each in error.value.errors())


def test_a_row_expires_after_its_day() -> None:
    row = load.fact("prices", "together.minimum")
    assert row.expires is not None
    assert not row.stale(row.expires)
    assert row.stale(date(row.expires.year + 1, 1, 1))


def test_every_pattern_compiles_and_every_sign_is_a_field() -> None:
    for cause in load.causes():
        assert all(re.compile(pattern) and weight > 0 for pattern, weight in cause.signals)
    for sign in load.signs():
        assert sign.field in Situation.model_fields
        assert all(re.compile(pattern) for pattern in sign.patterns)


def test_the_default_model_stands_first_with_its_hashes() -> None:
    first = load.models()[0]
    wheel = first.sources[0]
    assert first.name == "SmolLM2-135M-Instruct"
    assert first.verified
    assert (first.layers, first.hidden, first.vocabulary, first.context) == (30, 576, 49152, 8192)
    assert first.parameters == 134_515_008
    assert wheel.kind == "wheel"
    assert wheel.sha256 is not None
    assert len(wheel.sha256) == 64
    assert wheel.sha256_wheel is not None
    assert len(wheel.sha256_wheel) == 64


def test_loading_all_is_quick() -> None:
    started = time.perf_counter()
    for path in (load.FOLDER / "facts").glob("*.yaml"):
        yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    [load.read_card(path) for path in (load.FOLDER / "cards").glob("*.md")]
    assert time.perf_counter() - started < 1.0


def test_nothing_names_this_machine() -> None:
    texts = [
        path.read_text(encoding="utf-8") for path in Path(load.FOLDER).rglob("*") if path.suffix in (".md", ".yaml")
    ]
    assert texts
    assert not any("/work/" in text or "/tmp/" in text for text in texts)


@pytest.mark.parametrize(
    ("query", "card"),
    [
        ("my loss is flat and nothing is learned", "loss-not-falling"),
        ("how do I merge an adapter and serve it with vLLM", "deployment"),
        ("split without leakage", "split-leakage"),
        ("which rank and alpha for LoRA", "lora-qlora"),
        ("what does it cost and when is break-even", "cost"),
    ],
)
def test_search_finds_the_card(query: str, card: str) -> None:
    assert card in [hit.item.id for hit in search(query, k=2)]


def test_search_prefers_the_intent_and_knows_nothing_of_nonsense() -> None:
    plain = {hit.item.id: hit.score for hit in search("learning rate", k=20)}
    meant = {hit.item.id: hit.score for hit in search("learning rate", k=20, intent="configure")}
    assert meant["hyperparameters"] > plain["hyperparameters"]
    assert search("zzxxyy qqwwee") == []


NUMBERS = re.compile(
    r"\$\s?\d|\d\s?(?:USD|dollars|GB|MB|GiB|TFLOP)|\d+\s(?:tokens|bytes|days|hours|months)\b|\b\d+\.\d+\.\d+\b|\b\d?e-\d\b|"
    r"\b(?:January|February|March|April|May|June|July|August|September|October|November|December) \d{4}"
)
"""What belongs in a dated row: money, memory, lengths, dates, versions, rates."""


@pytest.mark.parametrize("path", sorted((load.FOLDER / "cards").glob("*.md")), ids=lambda path: path.stem)
def test_no_card_holds_a_number_that_rots(path: Path) -> None:
    body = path.read_text(encoding="utf-8").split("---\n", 2)[2]
    prose = re.sub(r"```.*?```|`[^`]*`|\{\{[^}]*\}\}|\[[^\]]*\]", "", body, flags=re.S)
    assert NUMBERS.findall(prose) == []


def test_a_card_shows_the_value_of_a_fact_and_says_when_it_has_expired(tmp_path: Path) -> None:
    card = tmp_path / "one.md"
    head = "---\nid: one\ntitle: One\nkeywords: []\nintents: []\n---\n"
    card.write_text(head + "At least {{limits.openai.min_examples}}, rate {{defaults.learning_rate}}.")
    assert load.read_card(card).body == "At least 10, rate 2e-4."
    stale = load.fact("prices", "prime.qwen3.5-9b.train")
    assert stale.shown() == "0.6 (read on 2026-09-20, expired)"
    card.write_text(head + "{{limits.no.such.row}}")
    with pytest.raises(KeyError):
        load.read_card(card)
