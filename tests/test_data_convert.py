"""From any shape to chat messages: nothing invented, nothing lost without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.data.convert import Converted, to_messages
from executor.data.export import writer
from executor.data.preference import preference_writer
from executor.data.read import RawTable
from executor.data.shape import detect
from executor.data.source import Record
from executor.errors import UserError

Row = dict[str, Any]
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


def table(rows: list[Row], file_format: str = "jsonl") -> RawTable:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = list(range(1, len(rows) + 1))
    return RawTable(Path("data.jsonl"), file_format, "utf-8", None, None, columns, rows, lines, [])


def converted(rows: list[Row], **options: Any) -> Converted:
    raw = table(rows)
    return to_messages(raw, detect(raw), **options)


def shape_of(*rows: Row) -> str:
    return detect(table(list(rows))).name


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ({"messages": CHAT}, "messages"),
        ({"messages": json.dumps(CHAT)}, "messages"),
        ({"conversations": CHAT}, "messages"),
        ({"conversation": {"messages": CHAT}}, "messages"),
        ({"conversations": [{"from": "human", "value": "hi"}]}, "sharegpt"),
        ({"instruction": "a", "input": "b", "output": "c"}, "alpaca"),
        ({"instruction": "a", "input": "b"}, "alpaca"),
        ({"instruction": "a", "context": "b", "response": "c"}, "alpaca"),
        ({"prompt": "a", "completion": "b"}, "prompt_completion"),
        ({"question": "a", "answer": "b"}, "prompt_completion"),
        ({"instruction": "a", "response": "b"}, "prompt_completion"),
        ({"prompt": "a"}, "prompt_completion"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference"),
        ({"prompt": "a", "completion": "b", "label": True}, "kto"),
        ({"messages": CHAT, "label": False}, "kto"),
        ({"text": "a"}, "text"),
        ({"unknown_key": "value"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_shapes(row: Row, shape: str) -> None:
    assert shape_of(row) == shape


def test_a_table_maps_its_text_and_its_label() -> None:
    rows = [
        {"id": str(i), "body": f"a longer text number {i} about things", "team": ["red", "blue"][i % 2]}
        for i in range(20)
    ]
    found = detect(table(rows, "csv"))
    assert (found.name, found.mapping) == ("table", {"user": "body", "assistant": "team"})
    assert "team" in found.why


def test_messages_pass_through_with_their_tools() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}
    row = {"messages": [CHAT[0], call], "tools": [{"type": "function", "function": {"name": "f"}}], "id": 7}
    out = converted([row])
    assert out.rows == [row]


def test_typed_text_parts_are_joined_and_others_rejected() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "value": "b"}]
    image = [{"type": "image_url", "image_url": {"url": "x"}}]
    out = converted(
        [
            {"messages": [{"role": "user", "content": parts}, CHAT[1]]},
            {"messages": [{"role": "user", "content": image}, CHAT[1]]},
        ]
    )
    assert out.rows[0]["messages"][0]["content"] == "ab"
    assert [p.code for p in out.rejected] == ["unsupported_content"]


def test_sharegpt_roles_and_calls() -> None:
    turns = [
        {"from": "system", "value": "S"},
        {"from": "human", "value": "U"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
        {"from": "observation", "value": "O"},
        {"from": "gpt", "value": "A"},
    ]
    messages = converted([{"conversations": turns}]).rows[0]["messages"]
    assert [turn["role"] for turn in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert messages[2]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": 1}}


def test_alpaca_joins_instruction_and_input() -> None:
    rows = [{"instruction": "Add.", "input": "1 2", "output": "3", "history": [["hi", "ho"]]}]
    assert [turn["content"] for turn in converted(rows).rows[0]["messages"]] == ["hi", "ho", "Add.\n1 2", "3"]


def test_templates_and_a_fixed_system_message() -> None:
    rows = [{"title": "T", "body": "B{x}", "team": "red", "note": None}]
    out = converted(rows, system="Sort.", user="{title}: {body} {{kept}}", assistant="{team}")
    assert out.rows[0]["messages"] == [
        {"role": "system", "content": "Sort."},
        {"role": "user", "content": "T: B{x} {kept}"},
        {"role": "assistant", "content": "red"},
    ]
    assert [p.field for p in converted(rows, user="{title}", assistant="{note}").rejected] == ["note"]


def test_values_that_are_no_text_become_json() -> None:
    rows = [{"text": "Book two seats", "slots": {"n": 2}, "done": True}]
    out = converted(rows, mapping={"user": "text", "assistant": "slots"})
    assert out.rows[0]["messages"][-1]["content"] == '{"n": 2}'


def test_unknown_columns_and_parts_are_the_users_to_fix() -> None:
    rows = [{"text": "a", "label": "b"}]
    with pytest.raises(UserError, match="labell") as raised:
        converted(rows, mapping={"user": "text", "assistant": "labell"})
    assert 'Did you mean "label"?' in raised.value.fix
    with pytest.raises(UserError, match="cannot be mapped"):
        converted(rows, mapping={"user": "text", "assistant": "label", "judge": "text"})
    with pytest.raises(UserError, match="assistant"):
        converted([{"prompt": "a"}])


@pytest.mark.parametrize("row", [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"text": "a"}, {"x": "a"}])
def test_shapes_without_replies_say_what_to_do_instead(row: Row) -> None:
    with pytest.raises(UserError) as raised:
        converted([row])
    assert raised.value.fix


texts = st.none() | st.text(max_size=6) | st.integers()
turns = st.fixed_dictionaries({}, optional={"role": st.sampled_from(["user", "assistant", "x"]), "content": texts})
chats = st.fixed_dictionaries({}, optional={"messages": st.lists(turns | texts, max_size=3) | texts})
flat = st.fixed_dictionaries({"input": texts}, optional={"output": texts})
alpaca = st.fixed_dictionaries({"instruction": texts}, optional={"input": texts, "output": texts, "history": texts})


@given(st.lists(chats, max_size=5) | st.lists(flat, max_size=5) | st.lists(alpaca, max_size=5))
def test_rows_in_are_rows_out_and_rejected(rows: list[Any]) -> None:
    if not rows or "messages" in rows[0]:
        rows.append({"messages": CHAT})
    raw = table(rows)
    try:
        out = to_messages(raw, detect(raw))
    except UserError:
        return
    assert len(raw.rows) == len(out.rows) + len(out.rejected)
    assert len(out.rows) == len(out.lines) == len(out.indexes)
    assert all(problem.line for problem in out.rejected)


def test_other_layouts() -> None:
    one, two = {"messages": CHAT}, {"messages": [CHAT[0], *CHAT]}
    assert writer("alpaca")(one, 1) == ({"instruction": "hi", "input": "", "output": "ho"}, None)
    row, problem = writer("alpaca")(two, 2)
    assert row is None
    assert problem is not None
    assert (problem.code, problem.line) == ("does_not_fit", 2)
    assert writer("sharegpt")(one, 1)[0] == {
        "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]
    }
    assert writer("prompt_completion")(one, 1)[0] == {"prompt": CHAT[:1], "completion": CHAT[1:]}
    with pytest.raises(UserError):
        writer("preference")


def test_preference_rows_share_their_prompt() -> None:
    good, bad = {"role": "assistant", "content": "good"}, {"role": "assistant", "content": "bad"}
    rows: list[Row] = [
        {"prompt": "hi", "chosen": "good", "rejected": "bad"},
        {"chosen": [CHAT[0], good], "rejected": [CHAT[0], bad]},
        {"prompt": "hi", "chosen": "good", "rejected": ""},
    ]
    written = [preference_writer(Record(line, row)) for line, row in enumerate(rows, 1)]
    assert [row for row, _ in written] == [*[{"prompt": CHAT[:1], "chosen": [good], "rejected": [bad]}] * 2, None]
    assert [problem.line for _, problem in written if problem] == [3]
