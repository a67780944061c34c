"""The sections on the systems that were measured: set-up, costs, weak parts, rows side by side, learning curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_report import EVIL, cell, spec, summary

from executor.files import write_json, write_jsonl
from executor.report import write_report

LABELS = ["cat", "dog", "fox"]


def line(expected: str, output: str, question: str = "Which one?") -> dict[str, Any]:
    prompt = [{"role": "user", "content": question}]
    scores = {"task_accuracy": float(expected == output), "format_compliance": 1.0, "style_match": 1.0}
    return {"prompt": prompt, "expected": expected, "output": output, "scores": scores}


def measured() -> dict[str, Any]:
    """What stages found beyond the contract's keys."""
    return {
        "metric": "exact match of the label",
        "form": "one of the 3 labels and nothing else",
        "comparisons": [
            {"b": b, "metric": m, "difference": 0.2, "low": 0.1, "high": 0.3, "p_value": 0.01, "p_adjusted": 0.02}
            for b, m in (("few_shot", "task_accuracy"), ("few_shot", "style_match"))
        ],
        "choices": {
            "prompt": {
                "settings": {"way": "one category a line", "system": f"Say which. {EVIL}"},
                "rows": 38,
                "tried": [
                    {"way": "one category a line", **cell(0.4, 0.3, 0.5)},
                    {"way": "your prompt", **cell(0.2, 0.1, 0.3)},
                ],
            },
            "few_shot": {"settings": {"way": "the same examples for every row"}, "rows": 0, "tried": []},
        },
        "left_out": ["rag"],
        "costs": {
            "few_shot": {"prompt_tokens": 400_000, "output_tokens": 5000, "seconds": 90.0, "usd": None, "source": None},
            "big-model": {
                "prompt_tokens": 120_000,
                "output_tokens": 5000,
                "seconds": 60.0,
                "usd": 1.25,
                "source": "list",
            },
        },
        "slices": {
            "system": "fine_tuned",
            "scores": {"label": {"cat": cell(0.9, 0.8, 0.95, 40), "fox": cell(0.2, 0.1, 0.35, 30)}},
            "worst": {"by": "label", "part": "fox", **cell(0.2, 0.1, 0.35, 30)},
        },
        "learning_curve": {
            "points": [{"share": s, "rows": int(200 * s), **cell(0.5 + 0.3 * s, 0.4, 0.9)} for s in (0.25, 0.5, 1.0)],
            "next": {"rows": 400, "value": 0.86, "low": 0.8, "high": 0.9, "says": "would probably help"},
        },
        "neutral_loss": {"before": 3.1, "after": 3.2, "difference": 0.1, "low": 0.05, "high": 0.15, "n": 24},
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_json(tmp_path / "summary.json", summary() | measured())
    asked = spec() | {
        "data": {"path": "/d.csv", "kind": "label", "labels": LABELS, "task": f"Tell animals apart {EVIL}"},
        "evaluate": {"target": 0.8},
        "cited": {"lora-lr": {"title": "LoRA rates", "url": "https://example.org/lora", "read_on": "2026-11-22"}},
    }
    write_json(tmp_path / "spec.yaml", asked)
    expected = ["cat"] * 5 + ["dog"] * 5 + ["fox"] * 5
    few = ["cat"] * 5 + ["cat"] * 5 + ["fox"] * 5
    tuned = ["cat"] * 5 + ["dog"] * 5 + ["dog"] * 3 + ["a fox?"] * 2
    for system, outputs in (("few_shot", few), ("fine_tuned", tuned)):
        lines = [
            line(want, said, f"animal {n} {EVIL}") for n, (want, said) in enumerate(zip(expected, outputs, strict=True))
        ]
        write_jsonl(tmp_path / "evaluation" / f"{system}.jsonl", lines)
    suite = [
        {"prompt": "2+2?", "before": "4", "after": "dog", "passed_before": True, "passed": False},
        {"prompt": "3+3?", "before": "5", "after": "6", "passed_before": False, "passed": True},
    ]
    write_jsonl(tmp_path / "suites" / "arithmetic.jsonl", suite)
    return tmp_path


def section(run: Path, title: str) -> str:
    write_report(run)
    text = (run / "report.md").read_text(encoding="utf-8")
    start = text.index(f"## {title}")
    end = text.find("\n## ", start + 1)
    return text[start : end if end > 0 else len(text)]


def test_the_question_comes_first_with_its_measure(run: Path) -> None:
    told = section(run, "What was asked")
    for words in ("Tell animals apart", "80.0 % task accuracy", "exact match of the label", "one of the 3 labels"):
        assert words in told


def test_every_way_that_was_tried_is_told_with_its_score(run: Path) -> None:
    told = section(run, "How each system was set up")
    assert "one category a line ← taken | 40.0 %" in told
    assert "your prompt | 20.0 %" in told
    assert "38 validation rows; the test rows were not looked at" in told
    assert "too few validation rows" in told
    assert "settled the question: retrieval" in told


def test_costs_have_a_price_only_where_there_is_one(run: Path) -> None:
    told = section(run, "What it costs to run")
    assert "| few-shot | 400,000 | 5,000 | 1 min 30 s | – |" in told
    assert "$1.25" in told
    assert "list" in told


def test_the_weakest_part_is_named(run: Path) -> None:
    told = section(run, "Where the fine-tuned system is weak")
    assert "label “fox”" in told
    assert told.index("fox | 20.0 %") < told.index("cat | 90.0 %")


def test_wins_and_losses_stand_side_by_side(run: Path) -> None:
    told = section(run, "Side by side")
    assert "better on 5 rows, few-shot on 5, and 5 are even" in told
    assert "Won: 5 of 5" in told
    assert "Lost: 5 of 5" in told
    assert "| dog | cat | dog |" in told


def test_confusions_are_drawn_and_counted(run: Path) -> None:
    told = section(run, "Which labels are confused")
    assert "| fox | dog | 3 |" in told
    assert "| fox | something else | 2 |" in told
    assert 'class="cell right"' in (run / "report.html").read_text(encoding="utf-8")


def test_what_was_forgotten_is_shown_as_it_was_said(run: Path) -> None:
    told = section(run, "What it may have forgotten, in examples")
    assert "2+2?" in told
    assert "3+3?" not in told, "what was wrong before was not forgotten"
    assert "3.1 to 3.2 nats a token (+0.100" in told


def test_more_data_is_judged_with_its_doubt(run: Path) -> None:
    told = section(run, "Would more data help?")
    assert "Twice the rows would probably help." in told
    assert "400 rows, estimated | 86.0 %" in told


def test_every_comparison_is_told_with_the_adjusted_chance(run: Path) -> None:
    assert "style match, against few-shot | +20.0" in section(run, "Is the difference real?")
    assert "p = 0.020" in section(run, "Is the difference real?")


def test_sources_are_listed_with_their_address(run: Path) -> None:
    told = section(run, "Sources")
    assert "LoRA rates" in told
    assert "example.org/lora" in told


def test_nothing_that_the_data_says_becomes_markup(run: Path) -> None:
    write_report(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "key", ["choices", "costs", "slices", "learning_curve", "neutral_loss", "comparisons", "left_out"]
)
@pytest.mark.parametrize("junk", [None, 3, "text", [1], {"a": 1}, {"fine_tuned": {"x": None}}])
def test_a_part_of_another_form_leaves_its_section_out(run: Path, key: str, junk: Any) -> None:
    write_json(run / "summary.json", summary() | {key: junk})
    write_report(run)
