"""Rows of rated replies: pairs of a chosen and a rejected one, and single replies with a true/false label."""

from __future__ import annotations

from typing import Any

from executor.data.chat import SHAREGPT_ROLES, from_messages
from executor.data.problem import Problem, error
from executor.data.rows import LEAD
from executor.data.shape import turns_of
from executor.data.source import Record
from executor.data.structure import has_call, plain_text, row_problems

Row = dict[str, Any]
_NAMES = (
    ("chosen_messages", "rejected_messages"),
    ("preferred_output", "non_preferred_output"),
    ("chosen", "rejected"),
)
"""how people call the two replies; the second is OpenAI's"""
_USED = frozenset(
    {
        "prompt", "input", "instruction", "system", "messages", "conversations", "conversation",
        *(name for pair in _NAMES for name in pair),
    }
)  # fmt: skip
_FIX = "Give a prompt, and one chosen and one rejected reply to it."


def preference_writer(record: Record) -> tuple[Row | None, Problem | None]:
    """`{"prompt": messages, "chosen": messages, "rejected": messages}` of a preference row, as TRL reads it.

    Other columns, `tools` among them, are kept.
    """
    raw = record.row or {}
    problem = record.problem or preference_problem(raw, record.line)
    return (None, problem) if problem else (_preference(raw), None)


def preference_problem(raw: Row, line: int) -> Problem | None:
    """What is wrong with one preference row, or None."""
    for name in _names(raw):
        if not any(plain_text(turn["content"]).strip() or len(turn) > 2 for turn in _turns(raw.get(name), "assistant")):
            fix = "Give each row a chosen and a rejected reply."
            return error("missing_field", f'the row has no "{name}" reply', fix, line, name)
    return None


def pair_of(raw: Row, line: int) -> tuple[Row | None, list[Problem]]:
    """A preference row as training reads it: `{"messages": prompt and chosen reply, "rejected": the other reply}`.

    Each side is one reply of the assistant; two conversations that part earlier cannot be compared.
    """
    problem = preference_problem(raw, line)
    if problem:
        return None, [problem]
    row = _preference(raw)
    chosen, rejected = row.pop("chosen"), row.pop("rejected")
    if not row["prompt"] or len(chosen) != 1 or len(rejected) != 1:
        message = f"the replies part over {len(chosen)} and {len(rejected)} turns"
        message = message if row["prompt"] else "there is no prompt before the two replies"
        return None, [error("no_pair", message, _FIX, line, _names(raw)[0])]
    texts = {plain_text(side[0]["content"]).strip() for side in (chosen, rejected)}
    if len(texts) == 1 and not any(has_call(side[0]) for side in (chosen, rejected)):
        return None, [error("same_reply", "both replies are the same", "Remove the row.", line, _names(raw)[1])]
    # only the two replies are compared: an earlier reply is no part of their probability
    prompt = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in row.pop("prompt")]
    built, problems = from_messages({**row, "messages": [*prompt, *chosen]}, line, None)
    other, more = from_messages({"messages": [*prompt, *rejected]}, line, None)
    roles = {side[0]["role"] for side in (chosen, rejected)}
    if roles != {"assistant"}:
        more = [*more, error("no_pair", "a side is not the assistant's reply", _FIX, line, _names(raw)[0])]
    if built is None or other is None:
        return None, [*problems, *more]
    return {**built, "rejected": other["messages"][-1]}, [*problems, *more, *row_problems(other, line)]


def kto_problem(raw: Row, line: int) -> Problem | None:
    """What is wrong with one row of a rated reply, or None."""
    if not isinstance(raw.get("label", raw.get("kto_tag")), bool):
        return error("missing_field", 'the row has no true/false "label"', "Label each reply.", line, "label")
    if not isinstance(turns_of(raw), list) and not raw.get("completion"):
        return error("missing_field", "the row has no reply", "Give messages or prompt and completion.", line)
    return None


def _names(raw: Row) -> tuple[str, str]:
    return next((pair for pair in _NAMES if pair[0] in raw or pair[1] in raw), _NAMES[-1])


def _preference(raw: Row) -> Row:
    chosen, rejected = (_turns(raw[name], "assistant") for name in _names(raw))
    named = raw.get("input")
    given: Row = named if isinstance(named, dict) else {}
    prompt = _turns(raw.get("prompt", turns_of(given) if given else turns_of(raw)), "user") or _instructed(raw)
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    if shared:  # the sides repeat the conversation, or go on with it
        repeats = chosen[0]["role"] != "assistant"
        prompt = [*(prompt if not repeats else _lead(prompt, chosen)), *chosen[:shared]]
    system = raw.get("system")
    if isinstance(system, str) and system.strip():
        prompt = [*_lead([{"role": "system", "content": system}], prompt), *prompt]
    more = {key: value for key, value in raw.items() if key not in _USED}
    more |= {key: value for key, value in given.items() if key != "messages"}
    return {**more, "prompt": prompt, "chosen": chosen[shared:], "rejected": rejected[shared:]}


def _lead(turns: list[Row], others: list[Row]) -> list[Row]:
    """The system message of `turns`, unless the others have one."""
    if any(turn["role"] in LEAD for turn in others):
        return []
    return [turn for turn in turns[:1] if turn["role"] in LEAD]


def _instructed(raw: Row) -> list[Row]:
    """The prompt of an Alpaca row: instruction and input in one message."""
    parts = [raw.get(name) for name in ("instruction", "input")]
    text = "\n".join(part for part in parts if isinstance(part, str) and part.strip())
    return _turns(text, "user") if "instruction" in raw and text else []


def _turns(value: Any, role: str) -> list[Row]:
    """A text, one turn or a list of turns, as messages; what is none of these is empty."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    found = []
    for turn in value if isinstance(value, list) else [value]:
        if not isinstance(turn, dict):
            return []
        speaker = str(turn.get("role", turn.get("from", role)))
        content = turn.get("content", turn.get("value"))
        more = {key: item for key, item in turn.items() if key not in ("role", "from", "content", "value")}
        text = content if isinstance(content, list) else plain_text(content)
        found.append({"role": SHAREGPT_ROLES.get(speaker, speaker), "content": text, **more})
    return found
