"""Answers from the cards cite what they say; expired facts carry a warning."""

from __future__ import annotations

import pytest

from knowledge.rows import cited
from tools.look_up import FACTS, LOOK_UP, NOTHING


@pytest.mark.parametrize(
    "question",
    [
        "What does lora_alpha do?",
        "How do I format data for fine-tuning?",
        "How do I evaluate?",
        "Is there a minimum price on Together?",
    ],
)
def test_answer_is_short_and_every_citation_is_listed(question: str) -> None:
    result = LOOK_UP.call(question=question)
    assert len(result.text().split()) <= 220
    assert {each["id"] for each in result.sources} == set(cited(result.text()))
    assert all(each["title"] and each["read_on"] for each in result.sources)
    assert "Next:" in result.text()


def test_answer_leads_with_what_was_asked() -> None:
    assert "lora_alpha" in LOOK_UP.call(question="What does lora_alpha do?").text()[:300]
    assert "2027" in LOOK_UP.call(question="When does OpenAI stop accepting fine-tuning jobs?").text()[:400]


def test_nothing_is_invented_for_a_foreign_question() -> None:
    result = LOOK_UP.call(question="zzxxyy qqwwee")
    assert result.text() == NOTHING
    assert result.sources == []


def test_expired_facts_are_marked() -> None:
    every, stale = FACTS.call(), FACTS.call(stale=True)
    assert len(every.facts) > len(stale.facts) > 0
    assert all(row.stale for row in stale.facts)
    assert "EXPIRED" in stale.text()
    assert set(every.model_dump(mode="json")) >= {"facts", "sources"}
    assert "expired: check it again" in LOOK_UP.call(question="Fireworks LoRA training price up to 16B").text()
