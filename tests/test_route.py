"""Words to intent: the named triggers, other fields, other languages, and real questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.route import route
from knowledge.rows import Intent

BENCH = Path(__file__).parents[2] / "shared" / "bench" / "route.jsonl"


@pytest.mark.parametrize(
    ("text", "intent", "task"),
    [
        ("Should I fine-tune for support tickets", "decide", "support tickets"),
        ("Format data for fine-tuning", "prepare_data", None),
        ("Which model to fine-tune for contract review?", "choose_model", "contract review"),
        ("Fine-tuning parameters for a friendly tone", "configure", "friendly tone"),
        ("Evaluate fine-tuned model", "evaluate", None),
        ("Fine-tuning loss not decreasing", "debug", None),
    ],
)
def test_quick_reference(text: str, intent: str, task: str | None) -> None:
    found = route(text)
    assert found.intent == intent
    assert found.task == task or task is None
    assert not found.workflow


@pytest.mark.parametrize(
    "text",
    ["fine-tune model", "Fine-tuning", "customize LLM", "train custom model", "adapt model", "Fine-tune a model."],
)
def test_a_bare_trigger_starts_the_workflow(text: str) -> None:
    found = route(text)
    assert found.workflow
    assert found.intent == "decide"


def test_a_question_with_a_trigger_in_it_does_not() -> None:
    assert not route("why does my fine-tuning crash after ten steps?").workflow


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("微调后输出乱码", "debug"),
        ("训练数据格式怎么准备", "prepare_data"),
        ("微调7B需要多少显存", "cost"),
        ("学习率怎么设置", "configure"),
        ("如何部署微调后的模型", "deploy"),
        ("微调后如何评估模型", "evaluate"),
        ("How much VRAM do I need for a 13B QLoRA?", "cost"),
        ("serve the adapter with vLLM", "deploy"),
        ("resume training from the last checkpoint", "train"),
        ("RuntimeError: mat1 and mat2 must have the same dtype", "debug"),
        ("write me a poem about autumn", "other"),
        ("train a YOLO object detector", "other"),
        ("", "other"),
    ],
)
def test_intents(text: str, intent: str) -> None:
    assert route(text).intent == intent


def test_a_traceback_is_a_case_for_debugging() -> None:
    log = "step 10\nTraceback (most recent call last):\n  File 'x.py'\nKeyError: 'a'"
    assert route(log).intent == "debug"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("check data/train.jsonl please", "data/train.jsonl"),
        ('format "my tickets.csv" for fine-tuning', "my tickets.csv"),
        ("why did ./runs/red-fox fail?", "./runs/red-fox"),
        ("RAG and/or fine-tuning?", None),
        ("no file here", None),
        ("my model answers [/link] at the end", None),
        ("it writes [bold red]x[/bold red] where it should write x", None),
        ("why is </a> in the answers?", None),
        ("the template is <s>[INST] {x} [/INST] <<SYS>>y<</SYS>> </s>", None),
        ("it never ends with </think> or {{/each}}", None),
        ("</think> is missing, look at ./runs/red-fox", "./runs/red-fox"),
        ("the rows are in [/data/rows]", "/data/rows"),
        ("the rows are in </data/rows.csv>", "/data/rows.csv"),
    ],
)
def test_the_first_path_is_found(text: str, path: str | None) -> None:
    assert route(text).path == path


@given(st.text(max_size=400))
def test_any_text_has_an_intent(text: str) -> None:
    assert route(text).intent in get_args(Intent)


def test_real_questions() -> None:
    if not BENCH.exists():
        pytest.skip(f"no {BENCH.name} here")
    rows = [json.loads(line) for line in BENCH.read_text(encoding="utf-8").splitlines()]
    right = sum(route(row["utterance"]).intent == row["intent"] for row in rows)
    assert right / len(rows) >= 0.85
