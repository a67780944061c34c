"""A push ordered in the chat: shown with its plan and command before it is approved."""

from __future__ import annotations

import pytest
from hub_kit import stated
from hub_server import Hub
from test_session import gather, turn_of

from agent.events import ApprovalNeeded
from agent.foreseen import foreseen
from agent.session import Session
from executor.run_folder import RunFolder, all_runs
from tools.export import EXPORT

pytest_plugins = ["hub_kit"]


PUBLIC = "Please upload the model as `my-org/tickets.v2` to Hugging Face, publicly."


@pytest.mark.parametrize(
    ("words", "repo", "public"),
    [("push it to the hub as me/tickets", "me/tickets", False), (PUBLIC, "my-org/tickets.v2", True)],
)
async def test_in_the_chat_a_push_is_shown_before_it_is_approved(
    hub: Hub, run: RunFolder, words: str, repo: str, public: bool
) -> None:
    stated(run, "apache-2.0")
    async with Session(chat="push") as session:
        events = await gather(session.send(words))
        asked = events[-1]
        assert isinstance(asked, ApprovalNeeded)
        assert asked.tool == "export"
        assert f"--repo {repo}" in asked.command
        assert ("--public" in asked.command) is public
        plan = foreseen(EXPORT, asked.args)
        assert f"`{repo}` to 127.0.0.1, {'visible for everyone' if public else 'private'}" in plan
        assert "no row is sent" in plan
        await gather(session.answer_approval(False))
    assert hub.asked == []
    assert len(all_runs()) == 1


async def test_a_push_for_everyone_of_an_unknown_chain_is_not_even_asked_for(hub: Hub, run: RunFolder) -> None:
    stated(run, None)
    async with Session(chat="push") as session:
        events = await gather(session.send(PUBLIC))
    assert not any(isinstance(event, ApprovalNeeded) for event in events)
    assert "licence" in turn_of(events).answer
    assert hub.asked == []


async def test_a_question_about_the_hub_pushes_nothing(hub: Hub, run: RunFolder) -> None:
    async with Session(chat="push") as session:
        events = await gather(session.send("Can I push it to the hub as me/tickets?"))
    assert not any(isinstance(event, ApprovalNeeded) for event in events)
