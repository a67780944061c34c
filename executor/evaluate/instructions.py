"""A small set of instructions for a task, from its training rows: what an hour of prompt writing would try first."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from executor.data.rows import answer, asked, system
from executor.evaluate.form import inferred_schema
from executor.spec import DataSpec, MetricName

LISTED = 40
"""labels that can be listed with their words, or again after the question"""
TYPICAL = 4
"""words of a label that are told"""
_WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Instruction:
    """What a model is told: a system message, and words after the question."""

    name: str
    system: str | None = None
    """None: the row's own system message"""
    after: str = ""

    def messages(self, prompt: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The prompt under this instruction."""
        own = [turn for turn in prompt if turn["role"] == "system"]
        rest = [dict(turn) for turn in prompt if turn["role"] != "system"]
        if self.after and rest and isinstance(rest[-1].get("content"), str):
            rest[-1]["content"] = f"{rest[-1]['content']}\n\n{self.after}"
        return [*(own if self.system is None else [{"role": "system", "content": self.system}]), *rest]


def instructions(data: DataSpec, train: Sequence[dict[str, Any]], metric: MetricName) -> list[Instruction]:
    """The candidates, the user's own first, the plainest next."""
    given = [Instruction("your prompt", data.prompt)] if data.prompt else []
    lead = (data.task or "").strip() or shared_system(train)
    systems, after = {"label": for_labels, "json": for_json}.get(data.kind, for_text)(data, train, metric, lead)
    plain = [Instruction("the question asked again at its end", None, after)]
    for name, text in systems.items():
        plain += [Instruction(name, text), Instruction(f"{name}, asked again after the question", text, after)]
    if data.prompt:
        given.append(Instruction("your prompt, asked again after the question", data.prompt, after))
    return [*given, *plain]


def shared_system(train: Sequence[dict[str, Any]]) -> str:
    """The system message that all rows have, or an empty string."""
    texts = {system(row) for row in train}
    return next(iter(texts)) if len(texts) == 1 else ""


def for_labels(
    data: DataSpec, train: Sequence[dict[str, Any]], metric: MetricName, lead: str
) -> tuple[dict[str, str], str]:
    names = "; ".join(data.labels)
    task = (data.task or "").strip() or "Decide which category the message belongs to."
    strict = (
        f"{task}\nReply with exactly one of these categories, letter for letter, and with nothing else:\n"
        + "\n".join(data.labels)
    )
    found = {"one category a line": strict}
    if len(data.labels) <= LISTED:
        words = typical_words(train)
        lines = [f"- {label}: {', '.join(words.get(label, ()))}".rstrip(": ") for label in data.labels]
        found["categories with their typical words"] = (
            f"{task}\nThe categories, each with words that are typical of it:\n" + "\n".join(lines)
            + "\nAnswer with the name of the category only."
        )  # fmt: skip
        return found, f"Which category is it: {names}? Answer with the category only."
    return found, "Answer with the category only."


def typical_words(train: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The words that set the questions of each answer apart, by frequency times rarity among the answers."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        counts[answer(row)].update(set(_WORD.findall(asked(row).casefold())))
    spread = Counter(word for words in counts.values() for word in words)

    def order(words: Counter[str]) -> list[str]:
        return sorted(words, key=lambda word: (-words[word] * math.log(len(counts) / spread[word]), word))

    return {label: order(words)[:TYPICAL] for label, words in counts.items()}


def for_json(
    data: DataSpec, train: Sequence[dict[str, Any]], metric: MetricName, lead: str
) -> tuple[dict[str, str], str]:
    answers = [answer(row) for row in train]
    keys = [f"- {key}: {_type_words(schema)}" for key, schema in inferred_schema(answers).get("properties", {}).items()]
    example = min(answers, key=lambda text: abs(len(text) - median(map(len, answers))))
    told = f"{lead}\nThe keys and what they hold:\n" + "\n".join(keys)
    return {
        "keys with their types": f"{told}\nAnswer with the JSON object only.".strip(),
        "the form shown": f"{lead}\nAn answer looks like this one, with other values:\n{example}".strip(),
    }, "Answer with the JSON object only."


def _type_words(schema: dict[str, Any]) -> str:
    types = schema.get("type", "any value")
    return types if isinstance(types, str) else " or ".join(types)


def for_text(
    data: DataSpec, train: Sequence[dict[str, Any]], metric: MetricName, lead: str
) -> tuple[dict[str, str], str]:
    answers = [answer(row) for row in train]
    words = round(median(len(text.split()) for text in answers))
    if metric == "numeric":
        return {"the number only": f"{lead}\nAnswer with the number only.".strip()}, "Answer with the number only."
    if metric in ("normalised", "exact", "contains"):
        short = f"Answer in at most {max(len(text.split()) for text in answers)} words, without a sentence around them."
        return {"few words": f"{lead}\n{short}".strip()}, "Answer in as few words as possible."
    example = min(answers, key=lambda text: abs(len(text.split()) - words))
    told = f"Answer in about {words} words."
    return {
        "the length": f"{lead}\n{told}".strip(),
        "the length and the tone": f"{lead}\n{told} Write in the manner of this answer:\n{example}".strip(),
    }, told
