"""What a request to measure says beside its data file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from agent.measured import measured_args
from agent.offline import reply


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "manual").mkdir()
    for name in ("faq.csv", "held.csv", "notes.md"):
        (tmp_path / name).write_text("question,answer\na,b\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("Compare prompting and retrieval on faq.csv", {}),
        ("Compare retrieval over the documents in ./manual on faq.csv.", {"documents": "./manual"}),
        (
            "try rag on faq.csv, docs from notes.md, test rows in held.csv",
            {"documents": "notes.md", "test": "held.csv"},
        ),
        ("compare retrieval over documents in ./gone on faq.csv", {}),
        (
            "Compare faq.csv against the model gpt-x at https://api.example.com/v1.",
            {"endpoint": "https://api.example.com/v1", "model": "gpt-x"},
        ),
        ("Measure few-shot on faq.csv, I need 85 %", {"target": 0.85}),
    ],
)
def test_a_measurement_is_heard_whole(folder: Path, text: str, args: dict[str, Any]) -> None:
    assert measured_args(text, "faq.csv") == args
    call = reply([HumanMessage(text)]).tool_calls[0]
    assert (call["name"], call["args"]) == ("compare", {"data": "faq.csv", **args})


def test_a_question_about_ways_starts_nothing(folder: Path) -> None:
    for text in ("Should we fine-tune on faq.csv or try few-shot first?", "Is it better to try rag with faq.csv?"):
        assert "compare" not in {call["name"] for call in reply([HumanMessage(text)]).tool_calls}
