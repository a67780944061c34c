"""Search and classification: synonyms, names, facts that complete each other, labels learnt from examples."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.classify import Classifier
from knowledge.search import Index, concepts, search_cases, search_facts, subjects, words

DOCUMENTS = {
    "rate": "The learning rate of a LoRA is about ten times that of full training.",
    "memory": "Gradient checkpointing trades time for memory of the GPU.",
    "ia3": "IA3 rescales keys, values and the feed-forward input.",
    "block": "A block of the transformer has attention and a feed-forward part, and acts on its input.",
}


@pytest.fixture(scope="module")
def index() -> Index[str]:
    return Index(list(DOCUMENTS), [words(text) for text in DOCUMENTS.values()])


def test_compounds_count_whole_and_in_parts() -> None:
    assert words("SFTTrainer lora_alpha LoRA+") == [
        "sfttrainer", "sft", "trainer", "loraalpha", "lora", "alpha", "loraplus",
    ]  # fmt: skip
    assert words("the a of") == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("which lr for lora", "rate"),
        ("activation checkpointing", "memory"),
        ("Which parts does IA3 act on?", "ia3"),
    ],
)
def test_other_words_for_the_same_thing_and_names_decide(index: Index[str], query: str, found: str) -> None:
    assert index.search(query)[0].item == found


def test_a_share_says_how_much_of_the_question_is_held(index: Index[str]) -> None:
    whole, part = index.search("learning rate LoRA")[0], index.search("learning rate zebra quagga")[0]
    assert whole.share == pytest.approx(1.0)
    assert 0 < part.share < 0.6
    assert index.search("zzxxyy") == []


def test_a_phrase_is_one_concept() -> None:
    assert [concept.wordings[0] for concept in concepts("learning rate of 64")] == [("learn", "rate"), ("64",)]


def test_the_product_that_is_named_comes_first() -> None:
    assert subjects("Does Together AI bill cancelled jobs?") == {"together"}
    assert subjects("What do alpha and r do together?") == set()
    assert search_facts("What file layout does LLaMA-Factory want for its dataset?")[0].item.id.startswith(
        "llamafactory"
    )


def test_further_facts_say_what_the_first_does_not() -> None:
    found = search_facts("What is the default rank of LoraConfig, and how does IA3 work?", k=4)
    assert any("r=8" in hit.item.text or "r of LoraConfig is 8" in hit.item.text for hit in found)
    assert any("IA3" in hit.item.text for hit in found)
    assert len({hit.item.id for hit in found}) == len(found)


def test_a_like_case_is_found() -> None:
    hit = search_cases("Farmers ask questions about crops in their region; PDFs hold local facts.")[0]
    assert hit.item.approach in ("rag", "rag_plus_fine_tune")
    assert hit.item.source


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=300))
def test_any_text_can_be_searched(text: str) -> None:
    for hit in search_facts(text):
        assert hit.score > 0
        assert 0 < hit.share <= 1.0001


def test_labels_are_learnt_from_examples() -> None:
    learnt = Classifier(
        {"cost": ["how much does it cost", "what is the price"], "debug": ["loss is nan", "it crashes"]}
    )
    assert max(learnt.scores("the price, how much?").items(), key=lambda each: each[1])[0] == "cost"
    assert max(learnt.scores("nan loss again").items(), key=lambda each: each[1])[0] == "debug"
    assert learnt.scores("zzxxyy") == {}
