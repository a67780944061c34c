"""Answers from the cards and the dated facts, with their sources; and the list of all dated facts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date

from pydantic import BaseModel

from knowledge.load import FACT_FILES, facts, licences, models, references
from knowledge.rows import Card, Fact, Intent, cited
from knowledge.search import NAME, PART, Hit, broad, concepts, rarity, search, search_facts, words
from tools.base import Args, Result, Tool

MOST_WORDS = 170
"""The answer's sentences; with the next step it stays under 200 words."""

MOST_CHARACTERS = 1_150
"""And of the facts together: an answer is read in one sitting."""

ANSWERS = 0.22
"""A fact that holds so much of the question's rarity leads the answer; otherwise a card does."""

BESIDE = 0.55
"""Further facts follow the first with at least this share of its score."""

LONGEST, LONGEST_WORD = 8000, 80
"""characters of a question, and of one of its words, that are searched for"""
MOST_FACTS = 4

LEAD_WORDS = 25
"""Sentences of more words are not favoured further for their length."""

SURE = 0.6
"""A sentence that carries so much of the question leads a card's answer; otherwise the card's first one does."""

NEAR, MOST_SENTENCES = 0.3, 6
"""A sentence that carries less of the question than this share is not picked; the card's own order fills up."""

OTHER_CARD = 0.5
"""Factor for sentences of the second card."""

HELD = 0.45
"""Where a question seems to be of another field, a fact must hold so much of it, in two things at least, or a name."""

NOTHING = (
    "I have nothing on that: I know about fine-tuning language models and the ways around it. Ask me whether to "
    "fine-tune, how to prepare data, which base model or settings to take, how to evaluate, why a run went wrong, how "
    "to deploy, or what it costs."
)

_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z`“])")
_CODE = re.compile(r"```.*?```", re.S)


class LookUpArgs(Args):
    question: str
    """the user's question"""
    intent: Intent | None = None
    """what kind of question it is; cards for that kind are preferred"""


class LookUpResult(Result):
    answer: str
    cards: list[str]
    """ids of the cards used, best first"""
    share: float
    """how much of the question's rarity the best fact or card holds, 0..1; 0 where neither is near"""
    sources: list[dict[str, str | None]]

    def text(self) -> str:
        return self.answer


@dataclass(frozen=True)
class _Sentence:
    text: str
    score: float
    order: int


def clipped(question: str) -> str:
    """A question of a length that people write: pasted files are not searched for word by word."""
    return " ".join(word[:LONGEST_WORD] for word in question[:LONGEST].split(" "))


def look_up(args: LookUpArgs) -> LookUpResult:
    args = args.model_copy(update={"question": clipped(args.question)})
    found = search_facts(args.question, k=MOST_FACTS)
    hits = search(args.question, k=2, intent=args.intent)
    card = broad(args.question)
    if args.intent == "other" and not card and not (found and _of_the_field(args.question, found[0])):
        return LookUpResult(answer=NOTHING, cards=[], share=0.0, sources=[])
    if card:
        hits = [card, *(hit for hit in hits if hit.item.id != card.item.id)]
    share = card.share if card else found[0].share if found and found[0].share >= ANSWERS else 0.0
    if share and not card:
        answer = _from_facts(found, _parts(hits[0].item)[1] if hits else "")
    else:
        answer = _from_cards(args.question, hits) if hits else NOTHING
    cards = [hit.item.id for hit in hits]
    return LookUpResult(answer=answer, cards=cards, share=round(share, 3), sources=references(cited(answer)))


def _of_the_field(question: str, hit: Hit[Fact]) -> bool:
    asked = concepts(question)
    names = any(asked[number].weight in (NAME, PART) for number in hit.parts)
    return names or (hit.share >= HELD and len(hit.parts) >= 2)


def _from_facts(found: list[Hit[Fact]], step: str) -> str:
    """The best fact, those near it, and the next step of the nearest card where there is room."""
    kept = [_quoted(found[0].item)]
    for hit in found[1:]:
        text = _quoted(hit.item)
        if hit.score >= BESIDE * found[0].score and len("\n\n".join([*kept, text])) <= MOST_CHARACTERS:
            kept.append(text)
    lead, *others = kept
    said = "\n".join([lead, "", *(f"- {other}" for other in others)]).rstrip()
    room = MOST_WORDS - len(said.split())
    return f"{said}\n\n{step}" if step and len(step.split()) <= room else said


def _from_cards(question: str, hits: list[Hit[Card]]) -> str:
    """The sentences nearest to the question and the best card's first one, then that card's next step."""
    body, step = _parts(hits[0].item)
    asked = set(words(question))
    pool = [_Sentence(each, _near(each, asked), order) for order, each in enumerate(body)]
    for other in hits[1:]:
        pool += [
            _Sentence(each, OTHER_CARD * _near(each, asked), 100 + i)
            for i, each in enumerate(_parts(other.item)[0])
            if len(asked & set(words(each))) >= 2
        ]
    needed = NEAR * sum(rarity(word) for word in asked)
    ranked = sorted((each for each in pool if each.score > needed), key=lambda each: (-each.score, each.order))
    texts = [each.text for each in ranked[:4]]
    if not texts or not _leads(ranked[0], asked):
        texts.insert(0, body[0])
    chosen: list[str] = []
    for sentence in [*texts, *body]:
        if sentence not in chosen and sum(len(each.split()) for each in [*chosen, sentence]) <= MOST_WORDS:
            chosen.append(sentence)
        if len(chosen) == MOST_SENTENCES:
            break
    told = {sentence: place for place, sentence in enumerate(body)}
    rest = sorted(chosen[1:], key=lambda sentence: told.get(sentence, len(body)))  # in the card's own order
    return " ".join([chosen[0], *rest]) + f"\n\n{step}"


def _leads(sentence: _Sentence, asked: set[str]) -> bool:
    """Whether a sentence carries enough of the question to come first: most of its rarity, and two of its words."""
    shared = len(asked & set(words(sentence.text)))
    return shared >= min(2, len(asked)) and sentence.score >= SURE * sum(rarity(word) for word in asked)


def _parts(card: Card) -> tuple[list[str], str]:
    """The sentences of a card without code, and its last paragraph, the next step."""
    *paragraphs, step = _CODE.sub("", card.body).strip().split("\n\n")
    sentences = [each.strip() for paragraph in paragraphs for each in _SENTENCE.split(" ".join(paragraph.split()))]
    return [each for each in sentences if each], step


def _near(sentence: str, asked: set[str]) -> float:
    """The rarity of the question's words that occur, less for long sentences."""
    found = words(sentence)
    return sum(rarity(word) for word in asked & set(found)) / math.sqrt(max(1.0, len(found) / LEAD_WORDS))


def _quoted(row: Fact) -> str:
    return f"{row.quoted()} [{', '.join(row.source)}]"


class FactsArgs(Args):
    stale: bool = False
    """only rows past their expiry"""


class FactRow(BaseModel):
    file: str
    id: str
    value: bool | int | float | date | str | None
    unit: str | None
    text: str
    source: list[str]
    read_on: date
    expires: date | None
    stale: bool


class FactsResult(Result):
    facts: list[FactRow]
    sources: list[dict[str, str | None]]

    def text(self) -> str:
        old = sum(row.stale for row in self.facts)
        lines = [f"{len(self.facts)} dated facts, {old} past their expiry."]
        for row in self.facts:
            mark = "EXPIRED " if row.stale else ""
            until = row.expires.isoformat() if row.expires else "never"
            value = f"{row.value} {row.unit or ''}".strip()
            lines.append(f"- {mark}{row.file}/{row.id}: {value} — {row.text} [{', '.join(row.source)}] expires {until}")
        return "\n".join(lines)


def list_facts(args: FactsArgs) -> FactsResult:
    rows = [
        FactRow(
            file=name, id=row.id, value=row.value, unit=row.unit, text=row.text, source=list(row.source),
            read_on=row.read_on, expires=row.expires, stale=row.stale(),
        )
        for name in FACT_FILES
        for row in facts(name)
    ]  # fmt: skip
    rows += [
        FactRow(
            file="models", id=row.name, value=row.parameters, unit="parameters", text=row.note,
            source=list(row.source), read_on=row.read_on, expires=row.expires, stale=row.stale(),
        )
        for row in models()
    ]  # fmt: skip
    rows += [
        FactRow(
            file="licences", id=row.id, value=row.ship, unit="may be passed on", text=row.text,
            source=list(row.source), read_on=row.read_on, expires=row.expires, stale=row.stale(),
        )
        for row in licences()
    ]  # fmt: skip
    kept = [row for row in rows if row.stale or not args.stale]
    return FactsResult(facts=kept, sources=references(each for row in kept for each in row.source))


LOOK_UP = Tool(
    name="look_up",
    reads_only=True,
    description=(
        "An answer from the knowledge cards and dated facts, with sources: data formats, settings, methods, "
        "evaluation, deployment, prices, shutdown dates. Call it for any question of knowledge."
    ),
    args=LookUpArgs,
    result=LookUpResult,
    run=look_up,
    command='finetune ask "{question}"',
)

FACTS = Tool(
    name="facts",
    reads_only=True,
    description="All dated facts (prices, limits, shutdown dates, defaults, models) with source and expiry.",
    args=FactsArgs,
    result=FactsResult,
    run=list_facts,
    command="finetune facts",
)
