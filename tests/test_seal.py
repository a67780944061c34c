"""The sealed test rows: unchanged since the run was made, and not trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import chat_rows

from executor.errors import UserError
from executor.job import Job
from executor.run_folder import RunFolder
from executor.stage_evaluate import leaked_rows

NewRun = Callable[..., RunFolder]


def test_rows_that_changed_after_the_seal_are_not_scored(new_run: NewRun) -> None:
    run = new_run("go")
    run.check_seal()
    file = run.data / "test.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace("user", "user", 1) + "{}\n", encoding="utf-8")
    with pytest.raises(UserError, match="test rows changed"):
        run.check_seal()


def test_a_leak_is_the_whole_question_not_its_last_words(new_run: NewRun) -> None:
    def talk(*texts: str) -> dict[str, Any]:
        roles = ("user", "assistant") * len(texts)
        return {"messages": [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]}

    rows = [*chat_rows()[:48], talk("Is it red?", "Shall I look?", "Yes please", "It is.")]
    rows[0] = talk("Is it late?", "Shall I check?", "Yes please", "It is late.")
    run = new_run("go", rows)
    job = Job(run, run.spec(), lambda *_: None, lambda _: None, lambda: False)
    assert leaked_rows(job) == 0
    again = new_run("go", [*rows[:48], talk("is it LATE?", "Shall I check?", "yes  please", "No.")])
    job = Job(again, again.spec(), lambda *_: None, lambda _: None, lambda: False)
    assert leaked_rows(job) == 1
