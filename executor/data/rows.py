"""The parts of a chat row that checks, splits and tasks look at: what was asked, what was answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from executor.data.structure import has_call, plain_text

Row = dict[str, Any]
LEAD = ("system", "developer")
"""roles that set the task"""


def answer(row: Row) -> str:
    """The last assistant message: its text, or its tool calls as JSON."""
    turn = last_reply(row)
    if turn is None:
        return ""
    text = plain_text(turn.get("content")).strip()
    return text or (json.dumps(calls(turn), ensure_ascii=False, sort_keys=True) if has_call(turn) else "")


def last_reply(row: Row) -> Row | None:
    return next((turn for turn in reversed(row["messages"]) if turn.get("role") == "assistant"), None)


def answers_with_call(row: Row) -> bool:
    """Whether the last assistant message calls a tool and says nothing."""
    turn = last_reply(row)
    return turn is not None and has_call(turn) and not plain_text(turn.get("content")).strip()


def calls(turn: Row) -> Any:
    return turn.get("tool_calls") or turn.get("function_call")


def asked(row: Row) -> str:
    """Everything before the last assistant message but the system message: the text that makes a row new."""
    return "\n".join(plain_text(turn.get("content")) for turn in before_answer(row) if turn.get("role") not in LEAD)


def system(row: Row) -> str:
    """The text of the system message, or an empty string."""
    turn = next((turn for turn in row["messages"] if turn.get("role") in LEAD), None)
    return plain_text(turn.get("content")) if turn else ""


def shared_system(rows: Sequence[Row]) -> str | None:
    """The system message with which all rows begin, word for word; None where they do not."""
    firsts = [row["messages"][0] for row in rows]
    same = firsts[:1] and all(each == firsts[0] for each in firsts) and firsts[0].get("role") == "system"
    text = firsts[0].get("content") if same else None
    return text if isinstance(text, str) else None


def before_answer(row: Row) -> Sequence[Row]:
    turns: list[Row] = row["messages"]
    last = max((i for i, turn in enumerate(turns) if turn.get("role") == "assistant"), default=len(turns))
    return turns[:last]


def question_key(row: Row) -> str:
    """Equal for rows that ask the same thing under the same system message, whatever the casing and spacing."""
    texts = [plain_text(turn.get("content")) for turn in before_answer(row)]
    return "\n".join(" ".join(text.casefold().split()) for text in texts)


def asking_key(prompt: Any, expected: Any) -> str:
    """Equal for two times that the same row is asked: the messages and the answer that is right."""
    return json.dumps([prompt, str(expected).strip()], ensure_ascii=False, sort_keys=True)


def whole_key(row: Row) -> str:
    """Equal only for rows that train the same: spaces around texts, ids and other columns aside."""
    turns = [
        {**turn, "content": turn["content"].strip()} if isinstance(turn.get("content"), str) else turn
        for turn in row["messages"]
    ]
    tools = {key: row[key] for key in ("tools", "functions", "rejected") if key in row}
    return json.dumps({**tools, "messages": turns}, ensure_ascii=False, sort_keys=True)


def with_answer(row: Row, text: str) -> Row:
    """The row with another last reply."""
    turns = list(row["messages"])
    last = max(i for i, turn in enumerate(turns) if turn.get("role") == "assistant")
    turns[last] = {**turns[last], "content": text}
    return {**row, "messages": turns}


def rejected_row(row: Row) -> Row:
    """A preference row with the rejected reply in place of the chosen one."""
    return {**row, "messages": [*row["messages"][:-1], row["rejected"]]}


def both_replies(row: Row) -> list[Row]:
    """The conversations that a row trains on: one, or of a preference row the chosen and the rejected."""
    return [row, rejected_row(row)] if "rejected" in row else [row]


def trained_conversations(rows: Iterable[Row], objective: str) -> list[Row]:
    """What a training of this objective sees of the rows: sft leaves rejected replies out."""
    return [each for row in rows for each in (both_replies(row) if objective == "dpo" else [row])]


def with_system(row: Row, text: str) -> Row:
    """The row under a system message, unless it has its own."""
    if not text or any(turn.get("role") in LEAD for turn in row["messages"]):
        return row
    return {**row, "messages": [{"role": "system", "content": text}, *row["messages"]]}


def sources_of(rows: Sequence[Row], column: str | None) -> list[str] | None:
    """The value that each row has in `column`; a row without one is a source of its own. None without a column."""
    if column is None:
        return None
    found = [row.get("columns", {}).get(column) for row in rows]
    return [f"row {place}" if value in (None, "") else f"= {value}" for place, value in enumerate(found)]


def grouped(keys: Iterable[str]) -> dict[str, list[int]]:
    """Positions of each key, in order of first occurrence."""
    groups: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return groups
