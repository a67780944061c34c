"""Tool calls, weights and content parts of chat rows, and the limits of providers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.data.check import check
from executor.data.structure import row_problems
from executor.data.tool_use import tool_problems
from tools import limits

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def call(name: str = "weather", number: str | None = "c1", arguments: Any = "{}") -> dict[str, Any]:
    made = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return made | ({"id": number} if number else {})


def talk(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Is it warm?"}, *turns], **more}


def asks(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def result(number: str | None = "c1") -> dict[str, Any]:
    return {"role": "tool", "content": "21", **({"tool_call_id": number} if number else {})}


REPLY = {"role": "assistant", "content": "Yes."}
CASES: list[tuple[dict[str, Any], set[str]]] = [
    (talk(asks(call()), result(), REPLY, tools=[WEATHER]), set()),
    (talk(asks(call()), tools=[WEATHER]), set()),
    (talk(asks(call(number="c1"), call(number="c2")), result("c2"), result("c1"), REPLY), set()),
    (talk(asks(call(number=None)), result(None), REPLY), set()),
    (talk(asks(call()), result(), asks(call()), result(), REPLY), set()),
    (talk(asks(call()), result("c9"), result(), REPLY), {"unknown_tool_call_id"}),
    (talk(asks(call()), REPLY), {"call_without_answer"}),
    (talk(asks(call()), result(None), REPLY), {"missing_tool_call_id"}),
    (talk(asks(call(), call()), result(), REPLY), {"duplicate_tool_call_id"}),
    (talk(asks(call("wether")), result(), REPLY, tools=[WEATHER]), {"unknown_tool"}),
    (talk(REPLY, tools={"name": "weather"}), {"bad_tools"}),
    (talk(REPLY, tools=[{"type": "function"}]), {"bad_tools"}),
    (talk(REPLY, tools=[{"name": "weather", "parameters": "none"}]), {"bad_tool_parameters"}),
    (talk(REPLY, tools=[{"name": "weather", "parameters": "{}"}]), set()),
    (talk(asks(call(arguments="[1]")), result(), REPLY), {"arguments_not_object"}),
    (talk(REPLY | {"weight": 0}), {"nothing_to_learn"}),
    (talk({"role": "user", "content": "Well?", "weight": 1}, REPLY), {"weight_not_on_reply"}),
    (talk({"role": "assistant", "content": [{"type": "hologram", "text": "x"}]}), {"unknown_content_type"}),
]


@pytest.mark.parametrize(("row", "codes"), CASES)
def test_each_fault_has_its_code_and_sound_rows_have_none(row: dict[str, Any], codes: set[str]) -> None:
    found = row_problems(row, 3)
    assert {problem.code for problem in found} == codes
    assert all(problem.line == 3 and problem.fix for problem in found)


def test_openai_refuses_what_training_here_only_warns_of() -> None:
    rows = [talk(asks(call()), result(str(n)), REPLY) for n in range(10)]
    assert {p.severity for p in check(rows, range(1, 11)) if p.code == "unknown_tool_call_id"} == {"warning"}
    refused = [p for p in check(rows, range(1, 11), "openai") if p.severity == "error"]
    assert {p.code for p in refused} == {"unknown_tool_call_id", "call_without_answer"}
    weighed = [talk({"role": "user", "content": f"{n}?", "weight": 0}, REPLY) for n in range(10)]
    assert "bad_weight" in {p.code for p in check(weighed, range(1, 11), "openai") if p.severity == "error"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "name", "function", "arguments", "parameters"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    tools=JSON,
    turns=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "tool"])},
            optional={"tool_calls": JSON, "tool_call_id": JSON, "weight": JSON, "content": JSON},
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_no_row_is_too_strange(tools: Any, turns: list[dict[str, Any]]) -> None:
    row = {"messages": turns, "tools": tools}
    row_problems(row, 1)
    tool_problems(row, turns, 1)


def test_a_file_over_the_providers_limits_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(talk(REPLY)) + "\n", encoding="utf-8")
    assert limits.limit_problems("openai", path, {"longest_input": 9, "longest_answer": 4}) == []
    long = limits.limit_problems("openai", path, {"longest_input": 300_000, "longest_answer": 4})
    assert [problem.code for problem in long] == ["likely_cut"]
    assert "estimated" in long[0].message
    real = limits.number
    monkeypatch.setattr(limits, "number", lambda table, name: 10 if name == "openai.max_bytes" else real(table, name))
    assert [p.code for p in limits.limit_problems("openai", path, None)] == ["file_too_large"]
    assert limits.limit_problems("local", path, None) == []
