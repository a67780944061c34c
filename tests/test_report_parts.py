"""The small parts of the report: drawings, escaping, and how light its import is."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.files import write_json, write_jsonl
from executor.report import draw, write_report
from executor.report.escape import to_html, to_markdown


class Tags(HTMLParser):
    """Collects the tags it meets."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(f"/{tag}")


def test_the_chosen_state_and_the_rates_tried_are_told(tmp_path: Path) -> None:
    losses: list[dict[str, Any]] = [{"step": step, "loss": 1 / step} for step in range(1, 61)]
    write_jsonl(tmp_path / "metrics.jsonl", [*losses, {"step": 45, "eval_loss": 0.4, "task_metric": 0.625}])
    (tmp_path / "spec.yaml").write_text("train: {steps: 80}\n", encoding="utf-8")
    trials = [
        {"learning_rate": 1e-4, "eval_loss": 0.41, "task_metric": 0.5, "seconds": 9.0},
        {"learning_rate": 2e-3, "eval_loss": None, "task_metric": None, "seconds": None},
    ]
    metrics = {"best_step": 45, "ended_early": True, "steps": 60}
    for tried in ([], trials):
        write_json(tmp_path / "summary.json", {"sweep": {"chosen": 1e-4, "trials": tried}, "metrics": metrics})
        for file in write_report(tmp_path):
            said = file.read_text(encoding="utf-8")
            assert "after step 45 was best" in said
            assert "Training ended early, after 60 of 80 steps" in said
            assert "was highest at step 45 (62.5" in said
            for words in ("Learning rates tried", "0.0001 (chosen)", "diverged", "50.0"):
                assert (words in said) is bool(tried), words


def test_a_thousand_steps_stay_a_small_drawing() -> None:
    points = [(float(step), 1.0 / step) for step in range(1, 20_000)]
    svg = draw.curve(points, draw.smoothed(points), [(5.0, 0.5)], "loss")
    assert len(svg) < 40_000
    assert draw.thin(points)[-1] == points[-1]


@pytest.mark.parametrize("top", [1e-7, 0.3, 1.0, 2.9, 11.3, 98765.0])
def test_curves_of_any_height_have_a_few_ticks(top: float) -> None:
    svg = draw.curve([(1.0, top), (2.0, top / 2)], [(1.0, top)], [], "loss")
    assert 3 <= svg.count('class="grid"') <= 5


@given(st.text())
def test_escaped_text_is_one_text_node(text: str) -> None:
    page = Tags()
    page.feed(f'<p title="{to_html(text)}">{to_html(text)}</p>')
    page.close()
    assert page.seen == ["p", "/p"]


@given(st.text())
def test_escaped_markdown_stays_in_its_cell(text: str) -> None:
    escaped = to_markdown(text)
    assert "\n" not in escaped
    assert not set(re.sub(r"\\.", "", escaped)) & set("|`<*")


def test_no_heavy_import() -> None:
    heavy = "torch numpy pandas pydantic"
    code = f"import sys, executor.report; print([name for name in {heavy.split()} if name in sys.modules])"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
