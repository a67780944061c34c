"""What the user told us about the task, read from free words. Unknown stays None; later statements win."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from knowledge.load import signs

_NUMBER = r"(\d{1,3}(?:[,' ]\d{3})+|\d+(?:\.\d+)?)\s*(k|m|thousand|million)?"
_UNITS = {"k": 1_000, "thousand": 1_000, "m": 1_000_000, "million": 1_000_000}
_THINGS = (
    r"(?:examples?|samples?|rows?|labels?|annotations?|pairs?|records?|tickets?|e-?mails?|conversations?|dialogues?|"
    r"transcripts?|demonstrations?|data ?points?|utterances?|texts?|memos?|letters?|posts?|captions?|scripts?|"
    r"sentences|reviews|articles|descriptions|queries|images)"
)
_PER = r"\s*(?:per|a|each|every|/)\s*"

_EXAMPLES = re.compile(rf"{_NUMBER}\+?\s+(?:[a-z/-]+ ){{0,3}}{_THINGS}\b(?!{_PER}(?:day|week|month|hour))", re.I)
_LABELLED = re.compile(
    rf"{_NUMBER}\+?\s+(?:[a-z-]+ ){{0,2}}(?:labell?ed|annotated|tagged|hand-?(?:written|labell?ed|made)|curated|"
    rf"verified|golden?|historical|past|solved|answered|input[-/ ]output|question[-/ ]answer|instruction)\b",
    re.I,
)
"""`3,000 labelled mails`: any noun, since the adjective says that they are examples."""
_NO_EXAMPLES = re.compile(
    r"\b(no|without( any)?|zero) (\w+ )?(labell?ed |training )?(examples?|data|labels|samples)\b", re.I
)
_VAGUE = (
    (re.compile(rf"\bthousands of (\w+ ){{0,3}}{_THINGS}", re.I), 1_000),
    (re.compile(rf"\bhundreds of (\w+ ){{0,3}}{_THINGS}", re.I), 100),
    (
        re.compile(
            r"\b(limited|small) (number|amount|pool|set) of (\w+ ){0,3}(labell?ed|annotated|examples|samples)", re.I
        ),
        30,
    ),
    (re.compile(r"\b(hardly|barely|scarcely) any (\w+ ){0,3}(data|examples|samples|inputs|rows|labels)", re.I), 5),
    (re.compile(r"\b(handful of|couple of|only a few|just a few) (\w+ ){0,2}(examples|samples|rows)", re.I), 5),
)
"""Words for a number of examples, read as its lower bound."""

_MONTHLY = re.compile(rf"{_NUMBER}\+?\s+(?:[\w-]+ ){{0,3}}?(?:[\w-]+)?{_PER}(day|week|month|hour)\b", re.I)
_MONTH = {"hour": 24 * 30, "day": 30, "week": 4, "month": 1}
_PROMPT = re.compile(rf"{_NUMBER}[- ]tokens? (?:system )?prompt|prompt (?:of|is|has) {_NUMBER} tokens", re.I)

_BUDGET = re.compile(rf"budget\b.{{0,20}}?(?:\$|usd|eur|€)\s*{_NUMBER}|(?:\$|usd|eur|€)\s*{_NUMBER} budget", re.I)
_LATENCY = re.compile(
    rf"(?:latency|respon\w+|answers?|p9\d|within|under|below)\D{{0,25}}{_NUMBER}\s*(ms|milliseconds)\b", re.I
)
_CACHE = re.compile(r"cach\w+( hit)?( rate)?\D{0,15}(\d{1,3})\s*%|(\d{1,3})\s*% (\w+ ){0,3}cach", re.I)
_RETIRES = re.compile(
    r"(?:retir|shut|deprecat|discontinu|end.of.life|goes away)\w*\D{0,30}?(\d{1,2}) (week|month)s?", re.I
)

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*(?:%|percent|per cent)", re.I)
_MEANING = (
    ("agreement", re.compile(r"\b(agree|kappa)\w*", re.I)),
    ("target", re.compile(r"\b(need|want|target|goal|require|must|should|aim|hope|expect|at least)\w*", re.I)),
    ("baseline", re.compile(r"\b(get|got|score|only|accuracy|current|now|achiev|manage|baseline)\w*", re.I)),
)
"""What the word nearest before a percentage makes of it."""

_STATED = re.compile(r"\b(is|at|reach\w*|hits?)\b", re.I)
"""Without any of those, `it is at 61 %` states a baseline."""

MOST = 10_000
"""So many characters are read, from the end."""

_NEAR = 40
"""So many characters before a percentage are looked at."""

_NOW = re.compile(r"\W*(now|today|accuracy|correct|right|currently)", re.I)
_BARE_TARGET = re.compile(
    r"\b(?:need|want|target|goal|require)s?\s+(?:is |of |at least |about |to (?:reach|get|hit) )*"
    r"(\d{2})\b(?!\s*(?:%|[a-z]))",
    re.I,
)
"""`need 85`, where the per cent sign is left out."""


class Situation(BaseModel):
    """None means: not said yet. Shares lie between 0 and 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    task: str | None = None
    examples: int | None = None
    """labelled examples at hand"""
    plenty_of_data: bool | None = None
    """labelled data is said to be plentiful, without a number"""
    baseline: float | None = None
    """what the present system reaches"""
    target: float | None = None
    knowledge_changes: bool | None = None
    needs_facts: bool | None = None
    """answers lie in documents or private facts"""
    style_or_format: bool | None = None
    """a stable style, tone or house form is wanted"""
    format_only: bool | None = None
    """the content is right, only the output format is not"""
    wrong_content: bool | None = None
    """the format is right, the content is not"""
    labels_closed_set: bool | None = None
    narrow_task: bool | None = None
    own_language: bool | None = None
    """a private query language or syntax"""
    general_knowledge: bool | None = None
    """expert knowledge that is public: medicine, law, science"""
    tabular: bool | None = None
    off_the_shelf: bool | None = None
    """a ready tool exists: OCR, speech, embeddings, translation"""
    open_ended: bool | None = None
    both_asked: bool | None = None
    """retrieval and training are asked for together"""
    calls_per_month: int | None = None
    high_volume: bool | None = None
    """volume or price is named as the problem"""
    prompt_tokens: int | None = None
    latency_or_privacy: bool | None = None
    tried_prompt: bool | None = None
    tried_few_shot: bool | None = None
    tried_rag: bool | None = None
    tried_fine_tune: bool | None = None
    evals_exist: bool | None = None
    small_effort: bool | None = None
    """a prototype, a one-off, no budget"""
    agreement: float | None = None
    """share of rows on which annotators agree"""
    retrain_owner: bool | None = None
    safety_critical: bool | None = None
    teacher: bool | None = None
    """a stronger model may be distilled"""
    prompt_fixable: bool | None = None
    """reply language, length or manner is wrong"""
    no_training: bool | None = None
    """the user does not want to train"""
    noisy_retrieval: bool | None = None
    """retrieved passages distract the model"""
    growing_prompt: bool | None = None
    """the prompt is long for all its rules and examples"""
    cache_hit_rate: float | None = None
    """share of the prompt that the provider's cache serves today"""
    latency_ms: int | None = None
    """the time an answer may take"""
    budget_usd: int | None = None
    retires_months: int | None = None
    """until the base model or its provider is gone"""


_NEGATED = re.compile(r"\b(not|no|never|n't|without|isn't|aren't)\s+(\w+\s+){0,2}$", re.I)
"""A negation right before a match takes the match away; nothing is concluded from it."""


def extract(text: str, before: Situation | None = None) -> Situation:
    """`before` with everything that `text` says; what it does not say stays as it was."""
    text = text[-MOST:]
    found: dict[str, Any] = {}
    for field, value, pattern in _signs():
        if field in found or not (match := pattern.search(text)):
            continue
        if not value or not _NEGATED.search(text[: match.start()]):
            found[field] = value
    found |= _numbers(text) | _shares(text)
    return (before or Situation()).model_copy(update=found)


@cache
def _signs() -> tuple[tuple[str, bool, re.Pattern[str]], ...]:
    return tuple((sign.field, sign.value, re.compile("|".join(sign.patterns), re.I)) for sign in signs())


def _numbers(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    if counts := list(_EXAMPLES.finditer(text)):
        found["examples"] = scaled(counts[-1].group(1), counts[-1].group(2))
    elif labelled := _LABELLED.search(text):
        found["examples"] = scaled(labelled.group(1), labelled.group(2))
    elif _NO_EXAMPLES.search(text):
        found["examples"] = 0
    elif vague := next((number for pattern, number in _VAGUE if pattern.search(text)), None):
        found["examples"] = vague
    if calls := _MONTHLY.search(text):
        found["calls_per_month"] = scaled(calls.group(1), calls.group(2)) * _MONTH[calls.group(3).lower()]
    if prompt := _PROMPT.search(text):
        found["prompt_tokens"] = scaled(prompt.group(1) or prompt.group(3), prompt.group(2) or prompt.group(4))
    return found | _limits(text)


def _limits(text: str) -> dict[str, int]:
    """Budget, latency, and the months that the base model has left."""
    found: dict[str, int] = {}
    if budget := _BUDGET.search(text):
        found["budget_usd"] = scaled(budget.group(1) or budget.group(3), budget.group(2) or budget.group(4))
    if latency := _LATENCY.search(text):
        found["latency_ms"] = scaled(latency.group(1), latency.group(2))
    if retires := _RETIRES.search(text):
        found["retires_months"] = int(retires.group(1)) // (4 if retires.group(2).lower() == "week" else 1)
    return found


def _shares(text: str) -> dict[str, float]:
    """Agreement, target and baseline among the percentages, told apart by the words before them."""
    found: dict[str, float] = {}
    if cached := _CACHE.search(text):
        found["cache_hit_rate"] = float(cached.group(3) or cached.group(4)) / 100
        text = text[: cached.start()] + text[cached.end() :]
    for match in _PERCENT.finditer(text):
        share = float(match.group(1)) / 100
        meaning = _meaning(text[max(0, match.start() - _NEAR) : match.start()])
        if meaning is None and _NOW.match(text[match.end() :]):
            meaning = "baseline"
        if meaning and share <= 1:
            found[meaning] = share
    if "target" not in found and "baseline" in found and (bare := _BARE_TARGET.search(text)):
        found["target"] = int(bare.group(1)) / 100
    return found


def _meaning(ahead: str) -> str | None:
    """The name of the last word group of `_MEANING` in `ahead`; `at least` counts as one word, and as a target."""
    ends = {name: max((each.end() for each in pattern.finditer(ahead)), default=-1) for name, pattern in _MEANING}
    best = max(ends, key=lambda name: ends[name])
    if ends[best] >= 0:
        return best
    return "baseline" if _STATED.search(ahead) else None


def scaled(digits: str, unit: str | None) -> int:
    """`3,000` and `3 k` as whole numbers."""
    return int(float(re.sub(r"[,' ]", "", digits)) * _UNITS.get((unit or "").lower(), 1))
