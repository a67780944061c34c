"""Whether one chat row is well formed: roles, contents, tool calls, a reply to learn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from executor.data.problem import Problem, error, warning
from executor.data.tool_use import tool_problems

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TEXT_TYPES = ("text", "refusal", "thinking", "reasoning", "tool_use", "tool_result")
_FILE_TYPES = ("image", "image_url", "audio", "input_audio", "video", "video_url", "file")
CONTENT_TYPES = frozenset((*_TEXT_TYPES, *_FILE_TYPES))
"""of parts of a message, as OpenAI, Anthropic and Hugging Face templates have them"""
_MEDIA = (("<image>", "images"), ("<video>", "videos"), ("<audio>", "audios"))
_ROLE_FIX = f"Use one of: {', '.join(ROLES)}."
_REPLY_FIX = 'Add a last message with the role "assistant" and the reply to learn, or remove the row.'


def row_problems(row: Any, line: int | None) -> list[Problem]:
    """Every fault of one `{"messages": [...]}` row."""
    turns = row.get("messages") if isinstance(row, dict) else None
    if turns is None:
        fix = 'Give each row a "messages" list of {"role", "content"}.'
        return [error("missing_messages", 'the row has no "messages"', fix, line, "messages")]
    if not isinstance(turns, list):
        kind = "text that is not JSON" if isinstance(turns, str) else f"{type(turns).__name__}, not a list"
        return [error("bad_messages", f'"messages" is {kind}', "Write a list of messages.", line, "messages")]
    if not turns:
        return [error("missing_messages", '"messages" is empty', _REPLY_FIX, line, "messages")]
    problems = [p for number, turn in enumerate(turns, 1) for p in _turn_problems(turn, number, line)]
    if any(not isinstance(turn, dict) for turn in turns):
        return problems
    found = [*problems, *_order_problems(turns, line), *_media_problems(row, turns, line)]
    return [*found, *_weight_problems(turns, line), *tool_problems(row, turns, line)]


def _turn_problems(turn: Any, number: int, line: int | None) -> Iterator[Problem]:
    where = f"message {number}"
    if not isinstance(turn, dict):
        kind = type(turn).__name__
        message = f"{where} is a {kind}, not an object"
        yield error("bad_message", message, 'Write {"role", "content"}.', line, "messages")
        return
    role = turn.get("role")
    if role is None:
        yield error("missing_role", f"{where} has no role", _ROLE_FIX, line, "role")
    elif role not in ROLES:
        yield error("bad_role", f'{where} has the unknown role "{_short(role)}"', _ROLE_FIX, line, "role")
    yield from _content_problems(turn, where, line)
    yield from _tool_call_problems(turn, where, line)
    weight = turn.get("weight")
    if weight is not None and weight not in (0, 1):
        yield error("bad_weight", f"{where} has the weight {_short(weight)}", "Use 0 or 1.", line, "weight")


def _content_problems(turn: dict[str, Any], where: str, line: int | None) -> Iterator[Problem]:
    content, role = turn.get("content"), str(turn.get("role"))
    if has_call(turn):
        return
    if content is None:
        yield error("missing_content", f"{where} ({role}) has no content", "Add the text.", line, role)
    elif not isinstance(content, str | list):
        kind = type(content).__name__
        yield error("bad_content", f"the content of {where} ({role}) is a {kind}", "Write text.", line, role)
    elif isinstance(content, list) and not all(isinstance(part, dict) and "type" in part for part in content):
        yield error("bad_content", f"a part of {where} ({role}) has no type", 'Write {"type", "text"}.', line, role)
    elif isinstance(content, list) and (unknown := {part_type(part) for part in content} - CONTENT_TYPES):
        named = ", ".join(sorted(map(_short, unknown)))
        message = f"{where} ({role}) has parts of the unknown type {named}"
        yield warning("unknown_content_type", message, f"Known are {', '.join(sorted(CONTENT_TYPES))}.", line, role)
    elif not has_content(turn):
        yield warning("empty_content", f"{where} ({role}) is empty", "Fill the text or remove the row.", line, role)


def _tool_call_problems(turn: dict[str, Any], where: str, line: int | None) -> Iterator[Problem]:
    calls = turn.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        message = f"tool_calls of {where} is not a list of objects"
        yield error("bad_tool_calls", message, "Write a list.", line, "tool_calls")
        return
    for call in calls:
        function = call.get("function", call)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            message = f"a tool call of {where} has no name"
            yield error("bad_tool_calls", message, "Name the function.", line, "tool_calls")
            continue
        yield from _argument_problems(function, where, line)


def _argument_problems(function: dict[str, Any], where: str, line: int | None) -> Iterator[Problem]:
    arguments, name = function.get("arguments"), _short(function["name"])
    if not isinstance(arguments, str):
        return
    try:
        decoded = json.loads(arguments)
    except (ValueError, RecursionError):
        message = f"{where}: the arguments of {name} are not JSON"
        yield error("bad_tool_arguments", message, "Write the arguments as a JSON object.", line, "tool_calls")
        return
    if isinstance(decoded, str):
        message = f"{where}: the arguments of {name} are JSON inside JSON; the model would learn to answer so"
        yield warning("double_encoded_arguments", message, "Decode the arguments once.", line, "tool_calls")
    elif not isinstance(decoded, dict):
        message = f"{where}: the arguments of {name} are a JSON {type(decoded).__name__}, not an object"
        yield warning("arguments_not_object", message, "Write the arguments as a JSON object.", line, "tool_calls")


def _order_problems(turns: list[dict[str, Any]], line: int | None) -> Iterator[Problem]:
    roles = [turn.get("role") for turn in turns]
    replies = [turn for turn in turns if turn.get("role") == "assistant" and (has_call(turn) or has_content(turn))]
    if not replies:
        yield error("no_reply", "there is no assistant reply to learn", _REPLY_FIX, line, "assistant")
    elif roles[-1] not in ("assistant", "tool", "function"):
        message = "the row ends without a reply: the last message is never trained"
        yield warning("ends_without_reply", message, _REPLY_FIX, line, str(roles[-1]))
    if "user" not in roles:
        yield warning("no_user", "there is no user message", "Add what the user said.", line, "user")
    if any(role in ("system", "developer") for role in roles[1:]):
        yield warning("system_not_first", "a system message is not the first message", "Move it up.", line, "system")


def _weight_problems(turns: list[dict[str, Any]], line: int | None) -> Iterator[Problem]:
    weighed = [turn.get("role") for turn in turns if turn.get("weight") is not None]
    if any(role != "assistant" for role in weighed):
        message = "a weight stands on a message that is not the assistant's and has no effect there"
        yield warning("weight_not_on_reply", message, "Keep weight on assistant messages only.", line, "weight")
    replies = [turn.get("weight") for turn in turns if turn.get("role") == "assistant"]
    if replies and all(weight == 0 and weight is not None for weight in replies):
        message = "every reply has the weight 0: nothing of the row is learned"
        yield warning("nothing_to_learn", message, "Give the reply to learn the weight 1.", line, "weight")


def _media_problems(row: dict[str, Any], turns: list[dict[str, Any]], line: int | None) -> Iterator[Problem]:
    text = "".join(plain_text(turn.get("content")) for turn in turns)
    for tag, key in _MEDIA:
        files = row.get(key)
        if files is None:
            continue
        listed = len(files) if isinstance(files, list) else 1
        if text.count(tag) != listed:
            message = f"the text names {text.count(tag)} {tag}, but {listed} {key} are listed"
            yield error("media_mismatch", message, f"Write one {tag} for each file.", line, key)
        elif listed:
            yield warning("media_not_trained", f"{key} are not trained on, only text is", "Use text rows.", line, key)


def has_call(turn: dict[str, Any]) -> bool:
    return bool(turn.get("tool_calls") or turn.get("function_call"))


def has_content(turn: dict[str, Any]) -> bool:
    content = turn.get("content")
    if isinstance(content, list):
        # a part that is no text (an image, a call, reasoning) is content too
        return any(part_text(part).strip() or part_type(part) != "text" for part in content)
    return isinstance(content, str) and bool(content.strip())


def plain_text(content: Any) -> str:
    """The text of a content, which is text or a list of typed parts."""
    if isinstance(content, list):
        return "".join(part_text(part) for part in content if part_type(part) == "text")
    return content if isinstance(content, str) else ""


def part_type(part: Any) -> str:
    return str(part.get("type")) if isinstance(part, dict) else ""


def part_text(part: Any) -> str:
    value = part.get("text", part.get("value", "")) if isinstance(part, dict) else ""
    return value if isinstance(value, str) else ""


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else text[:39] + "…"
