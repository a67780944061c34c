"""Replies to the questions of a decision, and the turns after one."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.session import Session
from knowledge.load import questions
from tools.decide import DECIDE
from tools.replies import replies

ASKED = {row.field: row.ask for row in questions()}
THREE = [ASKED["examples"], ASKED["baseline"], ASKED["tried_few_shot"]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1. 400 2. 70%, need 85 3. yes", {"examples": 400, "baseline": 0.7, "target": 0.85, "tried_few_shot": True}),
        ("1) 1.5k\n2) 61 %\n3) not yet", {"examples": 1500, "baseline": 0.61, "tried_few_shot": False}),
        ("3: no", {"tried_few_shot": False}),
        ("about 40", {"examples": 40}),
        ("none", {"examples": 0}),
        ("9. yes", {}),
    ],
)
def test_each_reply_goes_to_its_question(text: str, found: dict[str, object]) -> None:
    assert replies(text, THREE) == found


@given(st.text(alphabet=string.printable), st.lists(st.sampled_from(sorted(ASKED.values())), max_size=3))
def test_no_reply_breaks_the_situation(text: str, asked: list[str]) -> None:
    DECIDE.call(question=text, asked=asked)


async def turn(session: Session, text: str) -> str:
    return "".join([event.text async for event in session.send(text) if hasattr(event, "text")])


async def test_a_decision_goes_on_over_several_turns() -> None:
    """The task of the first turn is kept, a number alone is understood, and `what if` is an experiment."""
    async with Session() as session:
        first = await turn(session, "Should I fine-tune to sort support mails into 12 queues?")
        assert "Fine-tune a small model" not in first
        assert "Fine-tune a small model" in await turn(session, "about 3000 labelled, we get 70%, need 90%")
        assert "Fine-tune a small model" not in await turn(session, "and if I only had 8?")
