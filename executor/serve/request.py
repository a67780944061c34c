"""What a chat request may ask for: OpenAI's fields, checked; what this server cannot do is refused, never ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

MOST_TOKENS = 1024
"""of an answer, where the request sets no limit"""
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
LARGEST_SEED = 2**63 - 1


class Refused(Exception):  # noqa: N818 (an answer, not a failure of ours)
    """A request that gets an error in OpenAI's form."""

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error"}
        named = kind.get(status, "invalid_request_error")
        self.body = {"error": {"message": message, "type": named, "code": code, "param": param}}


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`. Temperature 0, greedy, is the default: what the evaluation measured.

    Fields that change the answer in a way that this server does not know take their neutral value alone; others (user,
    metadata, ...) change nothing and are left unread.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, le=LARGEST_SEED)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Any] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logit_bias: dict[str, Any] | None = Field(default=None, max_length=0)
    response_format: dict[str, Any] | None = None

    @field_validator("frequency_penalty", "presence_penalty", mode="before")
    @classmethod
    def whole(cls, value: Any) -> Any:
        return int(value) if isinstance(value, float) and value.is_integer() else value

    @field_validator("response_format")
    @classmethod
    def only_text(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value.get("type") != "text":
            raise ValueError("only text: this server does not constrain its answers")
        return value

    @field_validator("messages")
    @classmethod
    def turns(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Roles as the chat templates know them; content in parts becomes text."""
        return [turn_of(turn) for turn in value]

    @property
    def limit(self) -> int:
        return self.max_completion_tokens or self.max_tokens or MOST_TOKENS

    @property
    def stops(self) -> tuple[str, ...]:
        found = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(each for each in found if each)

    @property
    def offered(self) -> list[Any] | None:
        """The tools that the model is told of."""
        return None if self.tool_choice == "none" else self.tools


def turn_of(turn: dict[str, Any]) -> dict[str, Any]:
    role = turn.get("role")
    if role not in ROLES:
        raise ValueError(f"the role of a message is one of {', '.join(ROLES)}")
    return {**turn, "role": ROLES[role], "content": text_of(turn.get("content"))}


def text_of(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError("content is text, or parts of the type text: the model reads nothing else")
    return "".join(part["text"] for part in parts)


def read_request(body: bytes) -> ChatRequest:
    """Raises Refused for what is no request, or asks for what this server cannot do."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(step) for step in fault["loc"])
        raise Refused(400, f"{where or 'body'}: {fault['msg']}", "invalid_value", where or None) from None


@dataclass(frozen=True)
class Piece:
    """A part of an answer; the last one has a reason and the counts."""

    text: str
    reason: str | None = None
    """stop, length or tool_calls"""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: tuple[dict[str, Any], ...] = ()
    """parts of tool calls, as OpenAI streams them"""
