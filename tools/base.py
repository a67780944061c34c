"""What a tool is: typed arguments in, a typed result out, and whether it must ask first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from executor.errors import FinetuneError, Interrupted, ServiceError, UsageError, UserError
from executor.files import write_text
from executor.home import cache, chats_folder, workspace
from executor.text import printable

__all__ = [
    "Args", "FinetuneError", "Interrupted", "Result", "ServiceError", "Tool", "UsageError", "UserError",
    "argument_faults", "cache", "chats_folder", "printable", "workspace", "write_text",
]  # fmt: skip


OVERWRITE = "overwrite"
"""the argument by which a tool that writes files replaces existing ones"""


class Args(BaseModel):
    """Arguments of a tool: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Result(BaseModel):
    """What a tool returns. `model_dump(mode="json")` is the contract's JSON."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    @property
    def exit_code(self) -> int:
        """0 done and good, 1 done and the answer is "not good"."""
        return 0

    def text(self) -> str:
        """The result for a person, as Markdown. Leads with the answer."""
        raise NotImplementedError


def argument_faults(error: ValidationError) -> str:
    """Every wrong argument with what is wrong about it, in words that a person or a model can mend."""
    each = (f"{'.'.join(map(str, fault['loc'])) or 'the arguments'}: {fault['msg']}" for fault in error.errors())
    return "; ".join(each)


A = TypeVar("A", bound=Args)
R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Tool(Generic[A, R]):
    """One verb of the product. From the tuple `tools.TOOLS` come commands, agent tools and MCP tools.

    `run` may raise `executor.errors.FinetuneError`, which the user or the model reads; anything else is a bug.
    """

    name: str
    """snake_case, unique"""
    description: str
    """One or two sentences for the model that chooses: what it does and when to call it."""
    args: type[A]
    result: type[R]
    run: Callable[[A], R]
    reads_only: bool = False
    """True: changes nothing, neither on disk nor elsewhere."""
    asks_first: bool = False
    """True: spends time or money or overwrites; the agent asks for approval before calling it."""
    command: str = ""
    """The equivalent command line, as a format string over the arguments, shown when approval is asked."""
    plan: Callable[[A], str] | None = None
    """What a call would do, with its time and cost, for whoever approves it. Changes nothing; raises as `run` does."""

    @property
    def may_ask(self) -> bool:
        """Whether a call of it can need the person's approval."""
        return self.asks_first or OVERWRITE in self.args.model_fields

    def must_ask(self, arguments: Mapping[str, Any]) -> bool:
        """Whether this call does: a costly step, or one that replaces what is there."""
        return self.asks_first or bool(arguments.get(OVERWRITE))

    def call(self, **arguments: Any) -> R:
        """Validate the arguments and run."""
        return self.run(self.args.model_validate(arguments))
