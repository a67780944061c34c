"""To go on with a run that was stopped, in words, by the command the panel shows, and by /resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from test_session import gather, of, turn_of
from test_tui import Played, app_of, no_run, say, shown, stop_nothing
from textual.widgets import Static

from agent.events import ApprovalNeeded, Event
from agent.heard import said
from agent.session import Session
from agent.tui import ChatApp
from agent.tui.approval import Approval
from agent.tui.lines import Notice, UserMessage
from executor.run_folder import RunFolder
from tools import TOOLS
from tools.jobs import JobResult
from tools.train import TrainArgs

NewRun = Callable[..., RunFolder]
RUN = "20261128-120000-go-x"


@pytest.mark.parametrize(
    ("text", "run"),
    [
        (f"finetune train --resume {RUN}", RUN),
        (f"`finetune train --resume {RUN}`", RUN),
        (f"resume {RUN}", RUN),
        (f"Resume the run {RUN}.", RUN),
        (f"please continue the run {RUN}", RUN),
        ("resume ./runs/my-run", "./runs/my-run"),
        ("resume the run mine", "mine"),
        ("resume the run", ""),
        ("resume", ""),
        ("go on with the training", ""),
        ("OK, continue training", ""),
        ("can you resume it?", ""),
        ("resume training from the last checkpoint", ""),
        ("go on", None),
        ("continue", None),
        ("go on with tickets.csv", None),
        ("How do I resume training?", None),
        ("Should I continue training?", None),
        ("Resume training does not work: CUDA error", None),
        ("continue training my adapter on new data", None),
        ("Resume screening: should I fine-tune for it?", None),
    ],
)
def test_words_that_order_to_go_on_with_a_run(text: str, run: str | None) -> None:
    assert said([HumanMessage(text)]).resumes == run


def tools(resumed: list[TrainArgs]) -> list[Any]:
    """The real tools; a training that is resumed is only noted down."""

    def run(args: TrainArgs) -> JobResult:
        resumed.append(args)
        return JobResult(run="/r", status="running", summary="Resumed.")

    return [replace(tool, run=run) if tool.name == "train" else tool for tool in TOOLS]


async def asked_for(text: str, resumed: list[TrainArgs]) -> tuple[list[Event], Session]:
    session = Session(tools=tools(resumed))
    return await gather(session.send(text)), session


@pytest.mark.parametrize("text", ["go on with the training", "resume the run", "finetune train --resume {}"])
async def test_a_stopped_run_is_gone_on_with_once_it_is_approved(new_run: NewRun, text: str) -> None:
    old, stopped, done = new_run(), new_run(), new_run()
    for run, state in ((old, "stopped"), (stopped, "stopped"), (done, "done")):
        run.set_status(state)  # type: ignore[arg-type]
    resumed: list[TrainArgs] = []
    events, session = await asked_for(text.format(stopped.name), resumed)
    (asked,) = of(ApprovalNeeded, events)
    assert asked.command.startswith(f"finetune train --resume {stopped.name}")
    assert not resumed
    done_events = await gather(session.answer_approval(True))
    assert [args.resume for args in resumed] == [stopped.name]
    assert "Resumed." in turn_of(done_events).answer
    await session.close()


async def test_without_a_stopped_run_it_says_so(new_run: NewRun) -> None:
    new_run().set_status("done")
    events, session = await asked_for("resume the run", [])
    assert "No run was stopped" in turn_of(events).answer
    await session.close()


async def test_a_run_that_is_not_there_is_told_and_not_asked_for(new_run: NewRun) -> None:
    events, session = await asked_for("finetune train --resume 2020-nope", [])
    assert 'No run "2020-nope"' in turn_of(events).answer
    assert "Which file" not in turn_of(events).answer
    await session.close()


async def test_the_command_asks_the_mind_for_the_newest_or_the_named_run(new_run: NewRun) -> None:
    app = app_of(Played())
    async with app.run_test() as pilot:
        await say(app, pilot, "/resume")
        assert "No run was stopped" in shown(app, Notice)[-1]
        first, second = new_run(), new_run()
        first.set_status("stopped")
        second.set_status("stopped")
        await say(app, pilot, "/resume")
        await say(app, pilot, f"/resume {first.name}")
        assert shown(app, UserMessage) == [f"Resume the run {run.name}" for run in (second, first)]


async def test_the_command_ends_in_the_question_for_approval(new_run: NewRun) -> None:
    run = new_run()
    run.set_status("stopped")
    app = ChatApp(Session(tools=tools([])), no_run, stop_nothing)
    async with app.run_test(size=(100, 40)) as pilot:
        await say(app, pilot, "/resume")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.screen, Approval)
        command = str(app.screen.query_one(".command", Static).render())
    assert command.startswith(f"$ finetune train --resume {run.name}")
