"""Rows of messages to token ids, with the mask that says which tokens the loss sees, and the proof of that mask.

Light: the template and the tokenizer only, no torch, so that a plan can show the proof before anything starts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from executor.errors import UserError
from executor.spec import Fault
from executor.template import ChatTemplate

SHOWN = 3
"""examples in a proof"""
TOLD: dict[Fault, str] = {
    "untrained": "have no token of a reply to train",
    "too_long": "are longer than max_length {limit} (longest {longest} tokens)",
    "endless": "have a reply without an end-of-turn token",
    "doubled_start": "start with a doubled start token",
}


@dataclass(frozen=True)
class Example:
    """Token ids of one conversation and, for each, whether it is trained."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]

    @property
    def prompt_length(self) -> int:
        """Tokens before the first trained one; all where none is trained."""
        return self.trained.index(True) if True in self.trained else len(self.trained)


def encode(row: dict[str, Any], template: ChatTemplate) -> Example:
    """Tokenise one row span by span, so that prompt tokens are the same as in use.

    Of a trained span, everything up to and with the end-of-turn token is trained; what a template writes after it
    (a line break, say) is never generated and stays out of the loss.
    """
    text, spans = template.spans(row["messages"], row.get("tools"))
    ids: list[int] = []
    trained: list[bool] = []
    for span in spans:
        piece = template.encode(text[span.start : span.end])
        ids += piece
        trained += [span.trained] * ends_turn(piece, template.end_ids) if span.trained else []
        trained += [False] * (len(ids) - len(trained))
    return Example(tuple(ids), tuple(trained))


def ends_turn(piece: Sequence[int], end_ids: set[int]) -> int:
    """How many tokens of a reply are trained: through its last end-of-turn token, or all where it has none."""
    for index in range(len(piece) - 1, -1, -1):
        if piece[index] in end_ids:
            return index + 1
    return len(piece)


def encode_all(
    rows: Sequence[dict[str, Any]],
    template: ChatTemplate,
    max_length: int,
    split: str,
    allow: Collection[Fault] = (),
) -> list[Example]:
    """Every row, or one UserError that counts the rows that cannot be trained as they are.

    Each fault that `allow` does not name refuses the rows: see `faults`. An allowed row that is too long loses its end.
    """
    examples = [encode(row, template) for row in rows]
    found = faults(examples, template, max_length)
    refused = [fault for fault, count in found.items() if count and fault not in allow]
    if refused:
        longest = max(len(example.ids) for example in examples)
        told = [f"{found[fault]} rows {TOLD[fault].format(limit=max_length, longest=longest)}" for fault in refused]
        fix = "Shorten or remove these rows, or raise train.max_length in the spec." if "too_long" in refused else (
            "Check the rows' weights, and the template: where it leaves out tool calls, choose another base model."
        )  # fmt: skip
        fix += f" To train on them all the same, name {', '.join(refused)} in train.allow."
        raise UserError("; ".join(told), f"{split} rows", fix)
    return [cut(example, max_length) for example in examples]


def cut(example: Example, length: int) -> Example:
    """The first `length` tokens of it."""
    return Example(example.ids[:length], example.trained[:length])


def faults(examples: Sequence[Example], template: ChatTemplate, max_length: int) -> dict[Fault, int]:
    """How many examples have each fault.

    `untrained`: no token of a reply would be trained, or its end alone, so that the model would learn to say nothing
    (a template may leave out tool calls); `too_long`: cutting would
    remove the answer; `endless`: a reply does not end with an end-of-turn token, so the model would never learn to
    stop; `doubled_start`: template and tokenizer both add the start token.
    """
    return {
        "untrained": sum(not trains(example, template) for example in examples),
        "too_long": sum(len(example.ids) > max_length for example in examples),
        "endless": sum(any(e.trained) and e.ids[last_trained(e)] not in template.end_ids for e in examples),
        "doubled_start": sum(doubled_start(example, template) for example in examples),
    }


def trains(example: Example, template: ChatTemplate) -> bool:
    """Whether of each reply that is trained something but its end is, and there is one."""
    told = [
        any(token not in template.end_ids for token, _ in run)
        for trained, run in groupby(zip(example.ids, example.trained, strict=True), itemgetter(1))
        if trained
    ]
    return bool(told) and all(told)


def last_trained(example: Example) -> int:
    return len(example.trained) - 1 - example.trained[::-1].index(True)


def doubled_start(example: Example, template: ChatTemplate) -> bool:
    start = template.tokenizer.token_to_id(template.special.get("bos_token", ""))
    return start is not None and list(example.ids[:2]) == [start, start]


def proof(examples: Sequence[Example], template: ChatTemplate, max_length: int) -> dict[str, Any]:
    """What the loss sees: `rows, tokens, trained_tokens, cut_tokens, cut_replies, max_length, longest, faults, first`.

    `first` holds the first examples in pieces `{"text", "trained"}`, each the text of neighbouring tokens, decoded from
    their ids: what is shown is what the model is given.
    """
    used = [(e.ids[:max_length], e.trained[:max_length]) for e in examples]
    return {
        "rows": len(examples),
        "tokens": sum(len(ids) for ids, _ in used),
        "trained_tokens": sum(sum(trained) for _, trained in used),
        "cut_tokens": sum(max(0, len(e.ids) - max_length) for e in examples),
        "cut_replies": sum(any(e.trained[max_length:]) for e in examples),
        "max_length": max_length,
        "longest": max((len(e.ids) for e in examples), default=0),
        "faults": faults(examples, template, max_length),
        "first": [pieces(Example(ids, trained), template) for ids, trained in used[:SHOWN]],
    }


def pieces(example: Example, template: ChatTemplate) -> list[dict[str, Any]]:
    """The example as runs of tokens that are trained or not: `{"text", "trained"}`."""
    runs: list[tuple[bool, list[int]]] = []
    for token, trained in zip(example.ids, example.trained, strict=True):
        if not runs or runs[-1][0] != trained:
            runs.append((trained, []))
        runs[-1][1].append(token)
    decode = template.tokenizer.decode
    return [{"text": decode(ids, skip_special_tokens=False), "trained": trained} for trained, ids in runs]


def marked(found: dict[str, Any], shown: int = 1, width: int = 400) -> str:
    """A proof for people: counts, then examples with what is trained between the signs [[ and ]]."""
    share = found["trained_tokens"] / max(1, found["tokens"])
    seen = f"{found['trained_tokens']:,} of {found['tokens']:,} tokens ({share:.1%})"
    lines = [f"The loss sees {seen} of {found['rows']} conversations."]
    longest = {"limit": found["max_length"], "longest": found["longest"]}
    lines += [f"{count} rows {TOLD[fault].format(**longest)}." for fault, count in found["faults"].items() if count]
    for number, example in enumerate(found["first"][:shown], start=1):
        text = "".join(f"[[{p['text']}]]" if p["trained"] else shortened(p["text"], width) for p in example)
        lines.append(f"Row {number}, what is trained between [[ and ]]:\n{text.rstrip()}")
    return "\n".join(lines)


def shortened(text: str, width: int) -> str:
    half = width // 2
    return text if len(text) <= width else f"{text[:half]} ... {text[-half:]}"
