"""`make bench-faults`: twelve kinds of faults planted in real trainings, and whether `finetune doctor RUN` names them.

Every planting is a whole run of the product on the default model with one thing made wrong (spec, rows or model
folder); only `no gradient` is written into a healthy run's record, since no setting of the product causes it. Healthy
runs must be found healthy. Prints a line each; exit code 1 below nine tenths of the kinds named first, or on an alarm
about a healthy run.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from banking77 import read
from faults_models import changed_model, without_gradient
from kills import answered
from train_data import chat as conversation
from train_data import snips

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "support_tickets.csv"
SYSTEM = "Classify the banking customer's message into one intent."
LEAST = 0.9
"""share of the kinds whose every planting is named first"""
Row = dict[str, Any]


def intents(count: int, each: int, seed: int = 7) -> list[Row]:
    rng = random.Random(seed)
    known = read("banking77_train.csv")
    labels = sorted(rng.sample(sorted({label for _, label in known}), count))
    picked = [row for label in labels for row in rng.sample([r for r in known if r[1] == label], each)]
    rng.shuffle(picked)
    return [chat(text, label) for text, label in picked]


def chat(text: str, label: str) -> Row:
    return conversation(SYSTEM, text, label)


def weightless(rows: list[Row], share: float) -> list[Row]:
    for row in rows[: int(share * len(rows))]:
        row["messages"][-1]["weight"] = 0
    return rows


def repeated(rows: list[Row], near: bool) -> list[Row]:
    """Each row three times, to the letter or with another ending."""
    ends = ("", " please!", " thanks") if near else ("", "", "")
    return [chat(row["messages"][1]["content"] + end, row["messages"][2]["content"]) for row in rows for end in ends]


def contradicted(rows: list[Row], near: bool) -> list[Row]:
    """A third of the rows a second time with another row's label."""
    labels = sorted({row["messages"][2]["content"] for row in rows})
    more = [
        chat(
            row["messages"][1]["content"] + (" please!" if near else ""),
            next(label for label in labels if label != row["messages"][2]["content"]),
        )
        for row in rows[: len(rows) // 3]
    ]
    return [*rows, *more]


def wrapped(rows: list[Row]) -> list[Row]:
    """Questions that already stand in a template."""
    return [
        chat(f"<|im_start|>user\n{row['messages'][1]['content']}<|im_end|>\n<|im_start|>assistant\n", label)
        for row in rows
        for label in [row["messages"][2]["content"]]
    ]


@dataclass(frozen=True)
class Case:
    kind: str
    classes: tuple[str, ...]
    """the cause classes that are right; none: a healthy run"""
    rows: Callable[[], list[Row]] | Path = lambda: intents(8, 15)
    train: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    """what of the model folder is changed: see `faults_models`"""
    after: Callable[[Path], None] | None = None
    """what is done to the finished run"""


def changed_template(run: Path) -> None:
    file = run / "adapter" / "chat_template.jinja"
    file.write_text(file.read_text(encoding="utf-8").replace("<|im_start|>", "### "), encoding="utf-8")


SHORT = {"allow": ["too_long", "untrained", "endless"]}
CASES = [
    Case("rate too high", ("learning_rate",), train={"learning_rate": 0.02}),
    Case("rate too high", ("learning_rate",), train={"learning_rate": 0.1}),
    Case("rate too high", ("learning_rate",), train={"learning_rate": 3.0, "max_grad_norm": 1e9}),
    Case("rate too low", ("learning_rate",), train={"learning_rate": 1e-6}),
    Case("rate too low", ("learning_rate",), lambda: snips("train", 100, random.Random(7)), {"learning_rate": 2e-7}),
    Case("labels masked", ("labels_masking",), lambda: weightless(intents(8, 15), 1.0), {"allow": ["untrained"]}),
    Case("labels masked", ("labels_masking",), lambda: weightless(intents(8, 15), 0.7), {"allow": ["untrained"]}),
    Case("labels masked", ("labels_masking",), lambda: weightless(intents(8, 15), 1.0)),
    Case("template mismatch", ("chat_template",), model="llama2 template"),
    Case("template mismatch", ("chat_template",), model="llama3 template", train=SHORT),
    Case("template mismatch", ("chat_template",), model="llama3 template"),
    Case("template mismatch", ("chat_template",), model="plain template"),
    Case("template mismatch", ("chat_template",), lambda: wrapped(intents(8, 15))),
    Case("template mismatch", ("chat_template",), after=changed_template),
    Case("pad = EOS", ("eos_or_padding",), model="pad is eos", train=SHORT),
    Case("pad = EOS", ("eos_or_padding",), model="pad is eos"),
    Case("no gradient", ("gradient_flow",), after=without_gradient),
    Case("fp16 overflow", ("precision_overflow",), train={"dtype": "float16"}, model="large activations"),
    Case("over-fitting", ("overfitting",), lambda: snips("train", 45, random.Random(7)), {
        "steps": 120, "epochs": 30, "learning_rate": 1e-3, "select": "last", "patience": 0, "evaluate_every": 12,
    }),
    Case("duplicates", ("data_quality",), lambda: repeated(intents(8, 15), near=True)),
    Case("duplicates", ("data_quality",), lambda: repeated(intents(8, 15), near=False)),
    Case("conflicts", ("data_quality",), lambda: contradicted(intents(8, 15), near=True)),
    Case("conflicts", ("data_quality",), lambda: contradicted(intents(8, 15), near=False)),
    Case("max_length too short", ("truncation_length",), train={"max_length": 40, **SHORT}),
    Case("max_length too short", ("truncation_length",), train={"max_length": 40}),
    Case("wrong target modules", ("target_modules",), lora={"target_modules": ["c_attn", "c_proj"]}),
    Case("wrong target modules", ("target_modules",), lora={"target_modules": ["k_proj"]}),
    Case("healthy", ()),
    Case("healthy", (), EXAMPLE),
    Case("healthy", (), lambda: intents(20, 10)),
    Case("healthy", (), lambda: snips("train", 120, random.Random(7))),
    Case("healthy", (), train={"method": "full", "learning_rate": 5e-5}),
]  # fmt: skip


def diagnosed(case: Case, home: Path) -> list[str]:
    """The cause classes that the doctor names, best first."""
    data = case.rows if isinstance(case.rows, Path) else home / "rows.jsonl"
    if not isinstance(case.rows, Path):
        data.write_text("".join(json.dumps(row) + "\n" for row in case.rows()), encoding="utf-8")
    base = ("--base-model", str(changed_model(case.model, home))) if case.model else ()
    spec_file = home / "spec.yaml"
    planned = answered(home, "plan", str(data), *base, "--no-measure", "--out", str(spec_file))
    if "error" in planned:
        return [f"(not planned: {planned['error']})"]
    spec = yaml.safe_load(spec_file.read_text(encoding="utf-8"))
    spec["train"] |= {"watched_rows": 0, "select": "eval_loss"} | case.train
    spec["lora"] |= case.lora
    spec_file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    answered(home, "train", str(spec_file))
    run = max((home / "runs").iterdir())
    if case.after:
        case.after(run)
    found = answered(home, "doctor", str(run))
    return [each["cause_class"] for each in found.get("diagnoses", [])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="one kind of fault, such as 'template mismatch'")
    only = parser.parse_args().only
    named: dict[str, list[bool]] = defaultdict(list)
    alarms = 0
    for case in CASES:
        if only and case.kind != only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = diagnosed(case, Path(folder))
        right = bool(found) and found[0] in case.classes if case.classes else not found
        alarms += not case.classes and not right
        if case.classes:
            named[case.kind].append(right)
        changed = {**case.train, **case.lora, **({"model": case.model} if case.model else {})}
        print(
            f"{'right' if right else 'WRONG'}  {case.kind:22} {', '.join(found[:3]) or 'nothing'}  {changed or ''}",
            flush=True,
        )
    first = sum(all(each) for each in named.values())
    print(f"{first} of {len(named)} kinds named first in every planting ({sum(map(sum, named.values()))} of "
          f"{sum(map(len, named.values()))} plantings), {alarms} alarms about healthy runs")  # fmt: skip
    return 0 if first >= LEAST * len(named) and not alarms else 1


if __name__ == "__main__":
    sys.exit(main())
