"""Rows of messages to token ids, with the mask that says which tokens the loss sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executor.errors import UserError
from executor.template import ChatTemplate


@dataclass(frozen=True)
class Example:
    """Token ids of one conversation and, for each, whether it is trained."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]

    @property
    def prompt_length(self) -> int:
        """Tokens before the first trained one."""
        return self.trained.index(True)


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


def encode_all(rows: Sequence[dict[str, Any]], template: ChatTemplate, max_length: int, split: str) -> list[Example]:
    """Every row, or one UserError that counts the rows that cannot be trained as they are.

    A row is refused where no token of a reply would be trained (a template may leave out tool calls), where it is
    longer than `max_length` (cutting would remove the answer), or where a reply does not end with an end-of-turn token
    (the model would never learn to stop).
    """
    examples = [encode(row, template) for row in rows]
    silent = sum(
        not any(t and i not in template.end_ids for i, t in zip(e.ids, e.trained, strict=True)) for e in examples
    )
    long = [len(e.ids) for e in examples if len(e.ids) > max_length]
    endless = sum(any(e.trained) and e.ids[last_trained(e)] not in template.end_ids for e in examples)
    doubled = sum(doubled_start(e, template) for e in examples)
    faults = []
    if silent:
        faults.append(f"{silent} rows have no token of a reply to train")
    if long:
        faults.append(f"{len(long)} rows are longer than max_length {max_length} (longest {max(long)} tokens)")
    if endless:
        faults.append(f"{endless} rows have a reply without an end-of-turn token")
    if doubled:
        faults.append(f"{doubled} rows start with a doubled start token")
    if faults:
        fix = "Shorten or remove these rows, or raise train.max_length in the spec." if long else "Check the template."
        raise UserError("; ".join(faults), f"{split} rows", fix)
    return examples


def last_trained(example: Example) -> int:
    return len(example.trained) - 1 - example.trained[::-1].index(True)


def doubled_start(example: Example, template: ChatTemplate) -> bool:
    start = template.tokenizer.token_to_id(template.special.get("bos_token", ""))
    return start is not None and list(example.ids[:2]) == [start, start]
