"""What is written in a layout is read back as it was, or was rejected with a reason when it was written."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from executor.data.convert import built_row, row_builder
from executor.data.export import Layout, writer
from executor.data.problem import has_error
from executor.data.shape import detect_rows
from executor.data.source import Record
from executor.data.structure import row_problems
from executor.errors import UserError

Row = dict[str, Any]
LAYOUTS: list[Any] = [layout for layout in get_args(Layout) if layout != "preference"]
PATH = Path("rows.jsonl")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["look_up", "book"])
tool_turns = st.builds(
    lambda name, arguments, answer, number: [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}},
            ],
        },
        {"role": "tool", "tool_call_id": f"c{number}", "content": answer},
    ],
    names,
    st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
    texts,
    st.integers(0, 99),
)
questions = st.builds(lambda text: {"role": "user", "content": text}, texts)
answers = st.builds(
    lambda text, more: {"role": "assistant", "content": text, **more},
    texts,
    st.sampled_from([{}, {}, {"weight": 1}, {"name": "anna"}]),
)
rounds = st.builds(lambda q, calls, a: [q, *calls, a], questions, st.just([]) | st.just([]) | tool_turns, answers)
leads = st.sampled_from(["system", "developer"]).flatmap(
    lambda role: st.builds(lambda text: [{"role": role, "content": text}], texts)
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 99),
        "source": texts,
        "tools": st.just([{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]),
    },
)
chats = st.builds(
    lambda lead, body, more: {"messages": [*lead, *itertools.chain(*body)], **more},
    st.just([]) | leads,
    st.lists(rounds, min_size=1, max_size=3),
    extras,
)


def read_back(row: Row) -> Row | None:
    shape = detect_rows("jsonl", list(row), [row])
    return built_row(Record(1, row), row_builder(PATH, list(row), shape)).row


@pytest.mark.parametrize("layout", LAYOUTS)
@given(row=chats)
def test_a_layout_gives_back_the_row(layout: Any, row: Row) -> None:
    assume(not has_error(row_problems(row, 1)))
    written, problem = writer(layout)(row, 1)
    if written is None:
        assert problem is not None
        assert problem.line == 1
        assert layout in ("alpaca", "prompt_completion")
        return
    assert read_back(written) == row


@pytest.mark.parametrize(("one", "two"), list(itertools.permutations(LAYOUTS, 2)))
@given(row=chats)
def test_every_pair_of_layouts(one: Any, two: Any, row: Row) -> None:
    first, _ = writer(one)(row, 1)
    assume(first is not None and read_back(first) is not None)
    middle = read_back(first or {})
    second, problem = writer(two)(middle or {}, 1)
    if second is None:
        assert problem is not None
        return
    again, _ = writer(one)(read_back(second) or {}, 1)
    assert again == first


def test_plain_chats_fit_every_layout() -> None:
    """The law above would also hold for writers that reject everything."""
    row = {
        "messages": [
            {"role": "system", "content": "S"},
            *[{"role": role, "content": role[0]} for role in ("user", "assistant")] * 2,
        ],
        "id": 3,
    }
    for layout in LAYOUTS:
        written, problem = writer(layout)(row, 1)
        assert problem is None
        assert read_back(written or {}) == row


def test_what_a_layout_cannot_hold_is_named() -> None:
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    weighted = [chat[0], {**chat[1], "weight": 0}]
    cases: list[tuple[Any, Row]] = [
        ("alpaca", {"messages": weighted}),
        ("alpaca", {"messages": [chat[0], *chat]}),
        ("alpaca", {"messages": chat, "input": "mine"}),
        ("prompt_completion", {"messages": [*chat, chat[0]]}),
        ("sharegpt", {"messages": chat, "system": "mine"}),
    ]
    for layout, row in cases:
        written, problem = writer(layout)(row, 7)
        assert written is None
        assert problem is not None
        assert (problem.code, problem.line) == ("does_not_fit", 7)


KEYS = """messages conversations from value role content instruction input output prompt completion chosen rejected
label system history text tools instances preferred_output non_preferred_output id"""
keys = st.sampled_from(KEYS.split())
wild_values = st.recursive(
    json_values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


@given(st.lists(st.dictionaries(keys, wild_values, max_size=4), min_size=1, max_size=4))
def test_any_json_is_converted_or_rejected(rows: list[Row]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    shape = detect_rows("jsonl", columns, rows)
    try:
        build = row_builder(PATH, columns, shape)
    except UserError:
        return
    for line, row in enumerate(rows, 1):
        built = built_row(Record(line, row), build)
        if built.row is None:
            assert built.problems
            continue
        for layout in LAYOUTS:
            written, problem = writer(layout)(built.row, line)
            assert (written is None) != (problem is None)
