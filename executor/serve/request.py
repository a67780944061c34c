"""What a chat request may ask for: OpenAI's fields, checked; what this server cannot do is refused, never ignored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from executor.data.structure import plain_text

MOST_TOKENS = 1024
"""of an answer, where the request sets no limit"""


class Refused(Exception):  # noqa: N818 (an answer, not a failure of ours)
    """A request that gets an error in OpenAI's form."""

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "authentication_error" if status == 401 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "code": code, "param": param}}


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`. Temperature 0, greedy, is the default: what the evaluation measured."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Any] | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    response_format: dict[str, Any] | None = None

    @field_validator("response_format")
    @classmethod
    def only_text(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value.get("type") != "text":
            raise ValueError("only text: this server does not constrain its answers")
        return value

    @field_validator("messages")
    @classmethod
    def turns(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each with a role; content in parts becomes text."""
        for turn in value:
            if not isinstance(turn.get("role"), str):
                raise ValueError("each message needs a role")
        return [{**turn, "content": plain_text(turn.get("content"))} for turn in value]

    @property
    def limit(self) -> int:
        return self.max_completion_tokens or self.max_tokens or MOST_TOKENS

    @property
    def stops(self) -> tuple[str, ...]:
        found = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(each for each in found if each)


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
    reason: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
