"""The MCP server, spoken to by the official client: in this process, and over stdio as clients start it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import mcp_types as types
import pytest
from conftest import write_examples
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

from agent.foreseen import NOT_AS_IT_IS
from agent.mcp_content import TRIGGERS
from agent.mcp_server import server
from knowledge.load import cards
from tools import TOOLS

MODES = ("2026-07-28", "legacy")
"""the newest revision, in which a call is asked again, and the handshake before it, in which the server asks"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    write_examples(tmp_path / "things.csv")
    return tmp_path


def connected(test: Callable[..., Any]) -> Callable[..., Any]:
    """A test with a `client` of its own: a client must be closed by the task that opened it, which a fixture is not."""

    @functools.wraps(test)
    async def run(**fixtures: Any) -> None:
        async with Client(server()) as client:
            await test(client=client, **fixtures)

    signature = inspect.signature(test)
    kept = [parameter for name, parameter in signature.parameters.items() if name != "client"]
    run.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return run


def text(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


@connected
async def test_every_tool_is_listed_with_schema_and_hints(client: Client) -> None:
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert listed.keys() == {tool.name for tool in TOOLS}
    for tool in TOOLS:
        shown = listed[tool.name]
        assert shown.description
        assert shown.input_schema["additionalProperties"] is False
        for field, schema in shown.input_schema["properties"].items():
            assert "type" in schema or "anyOf" in schema or "$ref" in schema or "enum" in schema, (tool.name, field)
        assert shown.annotations is not None
        assert shown.annotations.read_only_hint is tool.reads_only
        assert shown.annotations.destructive_hint is tool.may_ask
        assert ("confirm" in shown.input_schema["properties"]) is tool.may_ask


ARGUMENTS: dict[str, dict[str, Any]] = {
    "decide": {"question": "Should I fine-tune for ticket triage? 800 examples."},
    "look_up": {"question": "What does LoRA rank do?", "intent": "configure"},
    "recommend_models": {"task": "classify tickets"},
    "diagnose": {"symptom": "loss is nan after 10 steps"},
    "facts": {},
    "data_inspect": {"path": "things.csv"},
    "data_check": {"path": "things.csv"},
    "data_format": {"path": "things.csv", "out": "things.jsonl"},
    "data_clean": {"path": "things.jsonl", "out": "clean.jsonl"},
    "data_split": {"path": "things.jsonl", "out": "parts"},
    "data_sample": {"path": "things.jsonl", "out": "sample.jsonl", "n": 5},
    "data_review_apply": {"path": "things.jsonl", "sample": "sample.jsonl", "out": "reviewed.jsonl"},
    "data_history": {},
    "data_diff": {"a": "things.jsonl", "b": "clean.jsonl"},
    "data_card": {"path": "parts", "out": "CARD.md"},
    "data_difficulty": {"path": "things.jsonl"},
    "plan": {"data": "things.csv"},
    "hosted_estimate": {"data": "parts/train.jsonl", "provider": "openai"},
    "hosted_status": {},
    "hosted_list": {},
    "runs": {"action": "list"},
}
"""what each tool that asks nobody is called with, in this order"""


@connected
async def test_every_tool_is_called(client: Client, folder: Path) -> None:
    for name, arguments in ARGUMENTS.items():
        result = await client.call_tool(name, arguments)
        assert not result.is_error, (name, text(result))
        assert isinstance(result.structured_content, dict)
        assert text(result)
    for tool in TOOLS:
        if tool.asks_first:
            result = await client.call_tool(tool.name, needed(tool))
            assert result.is_error, tool.name
            if tool.name in IMPOSSIBLE:
                assert "needs the person's approval" not in text(result), (
                    "nobody is asked to approve what cannot be done"
                )
                continue
            assert "needs the person's approval" in text(result), tool.name
            assert '"confirm"' in text(result)
    assert ARGUMENTS.keys() | {tool.name for tool in TOOLS if tool.asks_first} == {tool.name for tool in TOOLS}
    assert not (folder / "home" / "runs").exists(), "nothing was started"


IMPOSSIBLE = {"evaluate", "export", "hosted_submit", "train"}
"""tools whose plan cannot be made of `needed` arguments: they name no data, or a run that is not there"""
GIVEN = {"run": "some-run", "version": "some-version", "out": "delivered"}


def needed(tool: Any) -> dict[str, Any]:
    needs = {name: field for name, field in tool.args.model_fields.items() if field.is_required()}
    return {
        name: next(iter(get_args(field.annotation)), GIVEN.get(name, "things.csv")) for name, field in needs.items()
    }


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("decide", {}, "question: Field required"),
        ("decide", {"question": "x", "colour": 3}, "colour"),
        ("go", {"data": "things.csv", "target": 7}, "target"),
        ("data_check", {"path": "gone.csv"}, "gone.csv"),
        ("fly", {}, "Tools: decide"),
        ("runs", {"action": "show", "run": "x" * 300}, "No run"),
        ("data_diff", {"a": "x" * 300, "b": "things.csv"}, "name"),
    ],
)
@connected
async def test_wrong_arguments_are_told_so_that_a_model_can_mend_them(
    client: Client, folder: Path, tool: str, arguments: dict[str, Any], says: str
) -> None:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert says in text(result)


@connected
async def test_a_confirm_code_holds_for_the_call_that_was_shown(client: Client, folder: Path) -> None:
    (folder / "out.jsonl").write_text("kept\n")
    call = {"path": "things.csv", "out": "out.jsonl", "overwrite": True}
    first = text(await client.call_tool("data_format", call))
    code = first.rpartition('"confirm": "')[2].partition('"')[0]
    assert "finetune data format things.csv -o out.jsonl" in first
    other = await client.call_tool("data_format", {**call, "out": "things.jsonl", "confirm": code})
    assert other.is_error
    assert (folder / "out.jsonl").read_text() == "kept\n"
    assert (await client.call_tool("data_format", {**call, "confirm": code})).is_error, "spent on the other call"
    again = text(await client.call_tool("data_format", call))
    code = again.rpartition('"confirm": "')[2].partition('"')[0]
    assert not (await client.call_tool("data_format", {**call, "confirm": code})).is_error
    assert (folder / "out.jsonl").read_text() != "kept\n"
    assert (await client.call_tool("data_format", {**call, "confirm": code})).is_error, "a code holds once"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("action", "agrees", "says"),
    [
        ("accept", True, ""),
        ("accept", False, "refused"),
        ("decline", None, "refused"),
        ("cancel", None, "No answer was given"),
    ],
)
async def test_the_person_is_asked_where_the_client_can_ask(
    folder: Path, mode: Any, action: Any, agrees: bool | None, says: str
) -> None:
    asked: list[str] = []

    async def answer(context: Any, params: Any) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action=action, content={} if agrees is None else {"approve": agrees})

    (folder / "out.jsonl").write_text("kept\n")
    async with Client(server(), elicitation_callback=answer, mode=mode) as client:
        call = {"path": "things.csv", "out": "out.jsonl", "overwrite": True}
        result = await client.call_tool("data_format", {**call, "confirm": "12345678"})
    assert len(asked) == 1
    assert "finetune data format things.csv" in asked[0]
    assert result.is_error is not bool(agrees)
    assert says in text(result)
    assert ("Do not call it again" in text(result)) is (says == "refused"), "only a refusal is a decision"
    assert ((folder / "out.jsonl").read_text() == "kept\n") is not bool(agrees)


async def test_a_client_that_fails_to_ask_is_given_the_code(folder: Path) -> None:
    async def answer(context: Any, params: Any) -> types.ErrorData:
        return types.ErrorData(code=-32603, message="no window to ask in")

    (folder / "out.jsonl").write_text("kept\n")
    call = {"path": "things.csv", "out": "out.jsonl", "overwrite": True}
    async with Client(server(), elicitation_callback=answer, mode="legacy") as client:
        held = text(await client.call_tool("data_format", call))
        code = held.rpartition('"confirm": "')[2].partition('"')[0]
        assert (folder / "out.jsonl").read_text() == "kept\n"
        assert not (await client.call_tool("data_format", {**call, "confirm": code})).is_error
    assert (folder / "out.jsonl").read_text() != "kept\n"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("go", {"data": "gone.csv"}, "gone.csv"),
        ("go", {"data": "things.csv", "endpoint": "http://127.0.0.1:1/v1"}, "model"),
        ("train", {"resume": "nope"}, 'No run "nope"'),
    ],
)
async def test_nobody_is_asked_to_approve_what_cannot_be_done(
    folder: Path, mode: Any, tool: str, arguments: dict[str, Any], says: str
) -> None:
    async def answer(context: Any, params: Any) -> types.ElicitResult:
        raise AssertionError("the person was asked")

    for asking in (answer, None):
        async with Client(server(), elicitation_callback=asking, mode=mode) as client:
            result = await client.call_tool(tool, arguments)
        assert result.is_error
        assert says in text(result)
        assert "confirm" not in text(result)
        assert NOT_AS_IT_IS not in text(result)


@connected
async def test_files_beyond_the_folder_are_out_of_reach(client: Client, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path.parent / "outside.csv"
    outside.write_text("a,b\n1,2\n")
    for path in ("../outside.csv", str(outside), "/etc/passwd", "~/.ssh/id_rsa"):
        result = await client.call_tool("data_inspect", {"path": path})
        assert result.is_error
        assert "outside the working folder" in text(result) or "out of reach" in text(result)


@connected
async def test_a_run_is_followed_with_progress(
    folder: Path, tiny_model: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "model").symlink_to(tiny_model)
    monkeypatch.setenv("FINETUNE_CACHE", str(folder / "cache"))
    heard: list[str] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    call = {"data": "things.csv", "base_model": str(tiny_model.resolve()), "systems": ["zero_shot"], "wait": True}
    monkeypatch.setattr("agent.mcp_server.refuse_out_of_reach", lambda *given: None)
    first = text(await client.call_tool("compare", call))
    code = first.rpartition('"confirm": "')[2].partition('"')[0]
    result = await client.call_tool("compare", {**call, "confirm": code}, progress_callback=progress)
    assert not result.is_error, text(result)
    assert result.structured_content["scores"]["zero_shot"]["task_accuracy"]["n"] > 0
    assert heard


@connected
async def test_cards_are_resources_and_triggers_prompts(client: Client) -> None:
    listed = (await client.list_resources()).resources
    assert len(listed) == len(cards()) > 30
    for each in listed[:3]:
        contents = (await client.read_resource(each.uri)).contents
        assert contents[0].text.startswith(f"# {each.title}")
    with pytest.raises(MCPError):
        await client.read_resource("finetune://cards/../../etc/passwd")
    prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
    assert prompts.keys() == {trigger.name for trigger in TRIGGERS}
    found = await client.get_prompt("decide", {"task": "ticket triage"})
    assert "Should I fine-tune for ticket triage?" in found.messages[0].content.text
    with pytest.raises(MCPError):
        await client.get_prompt("decide", {})


async def test_over_stdio_as_clients_start_it(folder: Path) -> None:
    """stdout is the protocol's alone, whatever a tool prints."""
    home = str(Path(__file__).parents[1])
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "agent", "mcp"],
        cwd=folder,
        env={"PYTHONPATH": home, "FINETUNE_HOME": str(folder / "home")},
    )
    async with Client(command) as client:
        assert len((await client.list_tools()).tools) == len(TOOLS)
        result = await client.call_tool("data_check", {"path": "things.csv"})
        assert not result.is_error
        assert result.structured_content["rows"] == 60
