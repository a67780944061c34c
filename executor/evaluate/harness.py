"""Tasks of lm-evaluation-harness (an extra: the field's own benchmark runner) as regression suites."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from executor.errors import UserError
from executor.extras import need

MOST = 200
"""items of a task: enough to see 10 points, few enough to wait for"""
PREFERRED = ("acc_norm", "acc", "exact_match")
FIX = "`lm-eval ls tasks` lists the names; a file is a task in its YAML form."
Scores = dict[str, list[float]]
"""task -> right or wrong, an item each"""


def check(tasks: Sequence[str]) -> None:
    """Raises UserError where the package is not installed, or does not know a task."""
    need("lm_eval", "lm-evaluation-harness", "--harness", extra="harness")
    from lm_eval.tasks import TaskManager

    known = TaskManager()
    for task in tasks:
        if Path(task).is_file():
            refuse_code(Path(task))
        elif set(task) & set("*?[") or not known.match_tasks([task]):
            raise UserError(f'lm-evaluation-harness knows no task "{task}"', "--harness", FIX)


def refuse_code(file: Path) -> None:
    """A task's YAML may name Python to be run; a file that came from somewhere shall not. Raises UserError."""
    if re.search(r"!\s*function|^\s*(?:include|class)\s*:", file.read_text(encoding="utf-8"), re.MULTILINE):
        what = "The task names code or another file to be loaded"
        raise UserError(what, str(file), "Write it with templates alone, or name one of the harness's own tasks.")


def measure(model: Any, folder: Path, tasks: Sequence[str], batch: int = 8) -> Scores:
    """The model on each task, as plain text and without examples, the harness's own way; the first MOST items.

    Raises UserError where a task cannot be loaded, or scores its items by anything but right or wrong.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    spoken = HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=batch)
    try:
        with redirect_stdout(None):
            found = simple_evaluate(
                model=spoken, tasks=list(tasks), task_manager=TaskManager(), limit=MOST, bootstrap_iters=0
            )
    except Exception as error:  # tasks are foreign code: they may raise anything
        what = f"lm-evaluation-harness cannot run {', '.join(tasks)}: {' '.join(str(error).split())[:200]}"
        raise UserError(what, "--harness", "Check that its data can be downloaded, or leave it out.") from error
    samples = (found or {}).get("samples") or {}
    return {name: right_or_wrong(name, lines) for name, lines in samples.items()}


def right_or_wrong(task: str, lines: Sequence[dict[str, Any]]) -> list[float]:
    """The score of each item, in the order of the items; of several scores the usual one."""
    first = lines[0]["filter"]  # several filters read one answer in several ways: the first is the task's own
    kept = sorted((line for line in lines if line["filter"] == first), key=lambda line: line["doc_id"])
    names = kept[0]["metrics"]
    name = next((each for each in PREFERRED if each in names), names[0])
    values = [float(line[name]) for line in kept if isinstance(line[name], int | float)]
    if len(values) < len(kept) or not set(values) <= {0.0, 1.0}:
        raise UserError(f"{task} does not score its items as right or wrong ({name})", "--harness", "Leave it out.")
    return values
