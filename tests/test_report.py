"""The report of a run: complete, honest about what is missing, and harmless whatever the data says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from executor.errors import UserError
from executor.files import write_json, write_jsonl
from executor.report import write_report
from executor.report.escape import to_markdown

EVIL = "<script>alert(1)</script> </svg> | `code` \" ' & \u202egnp.exe \x00"
LABELS = ["card_arrival", "card_linking", "exchange_rate", "lost_or_stolen_card", "top_up_failed"]
VOID = {"meta", "br", "hr", "img", "link", "input", "wbr"}


def cell(value: float, low: float, high: float, n: int = 150) -> dict[str, float]:
    return {"value": value, "low": low, "high": high, "n": n}


def summary() -> dict[str, Any]:
    """A made-up result, only to be drawn."""
    values = {"zero_shot": 0.02, "prompt": 0.31, "few_shot": 0.65, "fine_tuned": 0.853}
    scores = {
        system: {
            metric: cell(value, max(0.0, value - 0.07), min(1.0, value + 0.06))
            for metric in ("task_accuracy", "format_compliance", "style_match")
        }
        for system, value in values.items()
    }
    return {
        "decision": {
            "approach": "fine_tune",
            "confidence": 0.8,
            "because": [{"text": "The best prompt stays under the target.", "source": "rule-target"}],
            "missing": ["How many calls a month?"],
            "next": ["Deliver it as GGUF."],
        },
        "scores": scores,
        "comparison": {
            "a": "fine_tuned", "b": "few_shot", "metric": "task_accuracy", "difference": 0.203, "low": 0.121,
            "high": 0.279, "p_value": 0.00002, "test": "exact McNemar test", "n": 150, "detectable_difference": 0.093,
        },
        "regression": {
            suite: {"before": 0.62, "after": 0.62 + d, "difference": d, "low": d - 0.05, "high": d + 0.05, "n": 50,
                    "verdict": verdict}
            for suite, d, verdict in (
                ("instruction_format", -0.14, "lost"),
                ("general_knowledge", 0.0, "kept"),
                ("arithmetic", -0.06, "unclear"),
            )
        },
        "verdict": "ship",
        "verdict_reasons": ["The whole interval of the gain lies above zero."],
        "dataset": None,
        "seconds": 214.0,
        "metrics": {
            "train_loss": 0.041, "eval_loss": 0.188, "steps": 60, "tokens": 58211, "tokens_per_second": 812.0,
            "peak_memory_bytes": 1_900_000_000, "seconds": 71.6, "trainable_parameters": 4_884_480,
        },
        "estimate": {
            "memory_bytes": {"low": 1.5e9, "expected": 2.0e9, "high": 2.6e9},
            "seconds": {"low": 50, "expected": 80, "high": 140}, "cost_usd": {"low": 0, "expected": 0, "high": 0},
            "hosting_usd_month": None, "fits": True, "device": "cpu",
        },
    }  # fmt: skip


def spec() -> dict[str, Any]:
    return {
        "kind": "go",
        "model": {"name": "SmolLM2-135M-Instruct", "licence": "Apache-2.0"},
        "data": {"path": "/data/support tickets.csv"},
        "lora": {"r": 16, "alpha": 32, "target_modules": "all-linear"},
        "train": {"learning_rate": 0.0005, "epochs": 2.0, "batch_size": 8, "seed": 0},
        "reasons": {
            "train.learning_rate": {"reason": "LoRA wants ten times the rate of full tuning.", "source": "lora-lr"},
            "lora.r": {"reason": "Enough for a label task of this size.", "source": None},
        },
    }


def data_record() -> dict[str, Any]:
    return {
        "version": "9f2c4e1b7a6d5c3e" * 4,
        "splits": {"train": {"rows": 200, "sha256": "a" * 64}, "test": {"rows": 150, "sha256": "b" * 64}},
        "source": {"path": "/data/support tickets.csv", "format": "csv", "encoding": "utf-8", "shape": "table"},
        "task": {"kind": "label", "labels": LABELS},
        "lineage": [
            {"step": "read", "rows_in": 0, "rows_out": 372},
            {"step": "remove_duplicates", "rows_in": 372, "rows_out": 350, "removed": 22},
        ],
    }


def logged() -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(1, 61):
        noise = 0.5 * ((step * 7919) % 11 - 5) / 5
        lines.append({"step": step, "loss": 2.9 * 0.93**step + 0.15 + noise * 0.93**step, "learning_rate": 5e-4})
        if step % 15 == 0:
            lines.append({"step": step, "eval_loss": 2.8 * 0.93**step + 0.2, "seconds": step * 1.2})
    return lines


def outputs() -> list[dict[str, Any]]:
    rows = []
    for index in range(50):
        expected = LABELS[index % 5]
        output = LABELS[(index + 1) % 5] if index % 7 == 0 else expected
        said = EVIL if index == 0 else f"My card number {index} has not come, what is going on? " * 3
        prompt = [{"role": "system", "content": "Name the intent."}, {"role": "user", "content": said}]
        scores = {"task_accuracy": float(output == expected)}
        rows.append({"prompt": prompt, "expected": expected, "output": output, "scores": scores})
    return rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "20260101-120000-go-support-tickets"
    (folder / "adapter").mkdir(parents=True)
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec()), encoding="utf-8")
    write_json(folder / "data.json", data_record())
    write_json(folder / "env.json", {"python": "3.11.9", "versions": {"torch": "2.13.0"}, "hardware": {"cores": 2}})
    write_json(folder / "summary.json", summary())
    write_jsonl(folder / "metrics.jsonl", logged())
    write_jsonl(folder / "evaluation" / "fine_tuned.jsonl", outputs())
    write_jsonl(folder / "data" / "test.jsonl", [])
    return folder


def both(folder: Path) -> tuple[str, str]:
    text, web = write_report(folder)
    return text.read_text(encoding="utf-8"), web.read_text(encoding="utf-8")


def change(folder: Path, **values: Any) -> None:
    write_json(folder / "summary.json", summary() | values)


class Strict(HTMLParser):
    """Checks that tags are balanced; collects tags, links to anything outside, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [key for key, _ in attrs if key in ("src", "href", "srcset") or key.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def parsed(web: str) -> Strict:
    page = Strict()
    page.feed(web)
    page.close()
    assert not page.open
    return page


def test_a_full_run_has_every_section_in_order(run: Path) -> None:
    text, web = both(run)
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "What was asked", "Why", "How every system scored", "Is the difference real?", "Where it still errs",
        "What it may have forgotten", "What it was trained and tested on", "How training went", "Settings, and why",
        "Estimate and measurement", "How to run it again", "Environment",
    ]  # fmt: skip
    assert re.findall(r"<h2>(.*?)</h2>", web) == titles


def test_the_first_sentence_has_verdict_figures_and_interval(run: Path) -> None:
    text, web = both(run)
    sentence = (
        "The fine-tuned model reaches 85.3 % task accuracy on 150 test rows (78.3 to 91.3 %), "
        "20.3 points better than few-shot (95 % interval +12.1 to +27.9, p &lt; 0.001)."
    )
    assert text.startswith(f"# Ship it\n\n**{sentence}**\n\n*measured:")
    assert f'<p class="lead">{sentence.replace(" %", "&nbsp;%")}</p>' in web
    assert "<h1>Ship it</h1>" in web


@pytest.mark.parametrize(("verdict", "words"), [("do_not_ship", "Do not ship it"), ("inconclusive", "Inconclusive")])
def test_other_verdicts(run: Path, verdict: str, words: str) -> None:
    change(run, verdict=verdict)
    text, web = both(run)
    assert text.startswith(f"# {words}\n")
    assert "finetune export" not in text + web


def test_a_decision_without_a_verdict(run: Path) -> None:
    decision = {"approach": "few_shot", "confidence": 0.9, "because": [], "missing": [], "next": []}
    change(run, verdict=None, comparison=None, regression=None, metrics=None, decision=decision)
    text, _ = both(run)
    assert text.startswith("# Use few-shot examples, do not fine-tune\n")
    assert "few-shot reaches 65.0 % task accuracy on 150 test rows (58.0 to 71.0 %)" in text
    assert "What it may have forgotten" not in text
    assert "not measured" in text


@pytest.mark.parametrize("approach", ["prompt", "few_shot", "rag", "fine_tune", "rag_plus_fine_tune", "other"])
def test_every_approach_without_any_measurement(tmp_path: Path, approach: str) -> None:
    write_json(tmp_path / "summary.json", {"decision": {"approach": approach, "confidence": 0.7}})
    text, _ = both(tmp_path)
    assert "Advised by rules, with confidence 0.70; nothing was measured." in text


def test_a_word_outside_the_closed_set_is_no_verdict(run: Path) -> None:
    change(run, verdict="<b>ship</b>", decision=None)
    text, web = both(run)
    assert text.startswith("# No answer yet\n")
    assert "<b>ship" not in web


def test_an_empty_folder_still_has_a_report(tmp_path: Path) -> None:
    text, web = both(tmp_path)
    assert text.startswith("# No answer yet\n")
    assert "Training: not measured." in text
    parsed(web)


@pytest.mark.parametrize(
    "name", ["spec.yaml", "data.json", "env.json", "summary.json", "metrics.jsonl", "evaluation/fine_tuned.jsonl"]
)
def test_each_file_may_be_missing_or_broken(run: Path, name: str) -> None:
    (run / name).write_text("{[\n", encoding="utf-8")
    text, web = both(run)
    assert f"cannot be read, and their content is missing above: {to_markdown(name)}" in text
    parsed(web)
    (run / name).unlink()
    text, web = both(run)
    assert "cannot be read" not in text
    parsed(web)


def test_the_page_asks_for_nothing_and_runs_nothing(run: Path) -> None:
    _, web = both(run)
    page = parsed(web)
    assert not page.links
    assert not {"script", "link", "img", "iframe", "object", "foreignobject"} & set(page.seen)
    assert "@import" not in web
    assert "url(" not in web
    assert "http" not in web.replace("http-equiv", "")
    assert "default-src &#x27;none&#x27;" in web


def test_messages_show_as_text(run: Path) -> None:
    text, web = both(run)
    assert "<script>alert(1)</script> </svg> | `code` \" ' & " in "".join(parsed(web).said)
    assert "\u202e" not in web + text
    assert "\x00" not in web + text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &lt;/svg&gt; \\| \\`code\\`" in text


def test_every_value_of_every_file_is_escaped(run: Path) -> None:
    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poison(item) for key, item in value.items()} | {f"{EVIL}": EVIL}
        if isinstance(value, list):
            return [*map(poison, value), EVIL]
        return EVIL if isinstance(value, str) else value

    for name in ("data.json", "env.json", "summary.json"):
        write_json(run / name, poison(json.loads((run / name).read_text(encoding="utf-8"))))
    (run / "spec.yaml").write_text(yaml.safe_dump(poison(spec())), encoding="utf-8")
    text, web = both(run)
    assert "script" not in parsed(web).seen
    assert "alert(1)" in web
    assert "<script" not in re.sub(r"^    .*$", "", text, flags=re.MULTILINE)  # indented code shows as it is


def test_tables_keep_their_columns_whatever_the_cells_say(run: Path) -> None:
    text, _ = both(run)
    tables = re.findall(r"(?:^\|.*\|\n?)+", text, flags=re.MULTILINE)
    assert len(tables) >= 8
    for table in tables:
        lines = table.strip().splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_errors_show_the_most_frequent_confusion_and_the_worst_label(run: Path) -> None:
    text, _ = both(run)
    assert "is wrong on 8 of 50 test rows" in text
    assert "The worst label is “card_arrival”: 8 of 10 right." in text
    assert "| card_arrival | card_linking | My card number 35 has not come" in text


def test_a_lone_surrogate_does_not_stop_the_report(run: Path) -> None:
    line = '{"prompt": [], "expected": "a", "output": "\\ud800", "scores": {"task_accuracy": 0}}\n'
    (run / "evaluation" / "fine_tuned.jsonl").write_text(line, encoding="utf-8")
    assert "\ufffd" in both(run)[1]


def test_losses_that_are_no_numbers_are_counted(run: Path) -> None:
    write_jsonl(run / "metrics.jsonl", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}])
    text, web = both(run)
    assert "1 logged losses are not finite numbers" in text
    assert "nan" not in web.lower()


def test_reasons_and_sources_stand_beside_the_settings(run: Path) -> None:
    text, _ = both(run)
    assert "| train.learning_rate | 0.0005 | LoRA wants ten times the rate of full tuning. | cited: lora-lr |" in text
    assert "| lora.r | 16 | Enough for a label task of this size. | chosen by rule |" in text
    assert "| train.seed | 0 |\n" in text


def test_estimate_and_measurement_stand_side_by_side(run: Path) -> None:
    text, _ = both(run)
    assert "| training time | 1 min 20 s | 50.0 s to 2 min 20 s | 1 min 12 s |" in text
    assert "| cost of training | $0.00 | $0.00 to $0.00 | not measured |" in text


def test_commands_are_quoted(run: Path) -> None:
    text, _ = both(run)
    assert "    finetune go '/data/support tickets.csv'" in text
    assert f"    finetune train {run}/spec.yaml" in text


def test_the_same_folder_gives_the_same_bytes(run: Path) -> None:
    assert both(run) == both(run)


def test_a_folder_that_cannot_be_written_is_the_users_matter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError):
        write_report(tmp_path / "file")
