"""The one pass over a file: the typed fast way says what the slow way says, and memory has a limit."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.data import structure_pass
from executor.data.batch import Batch
from executor.data.convert import built_row, row_builder
from executor.data.problem import Findings, error, in_file_order
from executor.data.read import open_source
from executor.data.shape import Shape
from executor.data.verdict import checked

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


def role_sequences() -> list[tuple[str, ...]]:
    return [roles for n in range(1, 5) for roles in itertools.product(("system", "user", "assistant"), repeat=n)]


def test_the_fast_structure_pass_agrees_with_the_slow_one(tmp_path: Path) -> None:
    """Each row alone in a block would be judged the fast way; each is judged the slow way by `row_problems`."""
    rows: list[Any] = [{"messages": [{"role": role, "content": "x"} for role in roles]} for roles in role_sequences()]
    one = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    rows += [
        {"messages": [{"role": "user", "content": text}, one[1]]}
        for text in ("", "  ", "\u00a0", "é", "\u2028", None, 7)
    ]
    rows += [{"messages": value} for value in (None, [], "text", {}, [1], [{}], [None])]
    rows += [{}, {"messages": one, "id": 7}, {"messages": one, "images": ["a.png"]}, {"messages": one, "tools": [{}]}]
    rows += [{"messages": [one[0], {**one[1], key: 1}]} for key in ("weight", "tool_calls", "name", "extra")]
    for number, row in enumerate(rows):
        path = tmp_path / f"{number}.jsonl"
        path.write_text((json.dumps(row) + "\n") * 3, encoding="utf-8")
        shape = Shape("messages")
        source = open_source(path)
        fast = checked(source, shape, judges=[]).findings.problems()
        build = row_builder(path, source.columns, shape)
        slow = in_file_order(p for record in source.records() for p in built_row(record, build).problems)
        told = [(p.code, p.severity, p.line) for p in fast if p.code != "unknown_shape"]
        assert told == [(p.code, p.severity, p.line) for p in slow], row


def test_lines_are_counted_over_blocks_of_the_fast_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure_pass, "_BLOCK", 100)
    good = json.dumps({"messages": CHAT})
    for end in ("\n", "\r\n", "\n\n"):
        lines = [good] * 7 + ["{"] + [good] * 5 + ['{"messages": []}'] + [good] * 3
        path = tmp_path / "a.jsonl"
        path.write_bytes(end.join(lines).encode("utf-8-sig"))
        found = checked(open_source(path), Shape("messages"), judges=[])
        step = 2 if end == "\n\n" else 1
        assert found.rows == len(lines)
        assert [(p.code, p.line) for p in found.findings.problems()] == [
            ("bad_json", 7 * step + 1),
            ("missing_messages", 13 * step + 1),
        ]


def test_no_more_problems_are_kept_than_fit_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Findings, "KEPT", 3)
    findings = Findings()
    findings.add(error("bad_json", "not JSON", "Repair it.", line) for line in range(1, 11))
    assert findings.counts() == {"error": 10, "warning": 0}
    assert [p.line for p in findings.problems()] == [1, 2, 3, None]
    assert "7 more" in findings.problems()[-1].message


turn_texts = st.text(min_size=1, max_size=12).filter(str.strip)
plain_rows = st.lists(st.sampled_from(["sua", "ua", "uaua", "uua", "dua"]), min_size=1, max_size=4).flatmap(
    lambda kinds: st.tuples(*[st.tuples(st.just(kind), st.lists(turn_texts, min_size=4, max_size=4)) for kind in kinds])
)
ROLES = {"s": "system", "u": "user", "a": "assistant", "d": "developer"}


@given(plain_rows)
def test_plain_rows_give_the_columns_of_rows(rows: tuple[tuple[str, list[str]], ...]) -> None:
    chats = [
        {"messages": [{"role": ROLES[k], "content": text} for k, text in zip(kind, texts, strict=False)]}
        for kind, texts in rows
    ]
    lines = list(range(1, len(chats) + 1))
    batch = Batch()
    batch.add_plain([msgspec.convert(chat, structure_pass.PlainRow) for chat in chats], lines)
    assert batch == Batch.of(chats, lines)
