"""What a person reads before approving a step: the plan of exactly these arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from tools.base import FinetuneError, Tool, argument_faults

NOT_AS_IT_IS = "**This will not run as it is.**"


def foreseen(tool: Tool[Any, Any], args: Mapping[str, Any], check: Callable[[], None] = lambda: None) -> str:
    """The plan of a call as Markdown, or the tool's description where it plans nothing; why the call cannot be.

    `check` raises FinetuneError where the call may not read what it names: then its plan does not read it either.
    A bug of the plan alone says so and leaves the step to the person.
    """
    try:
        check()
        valid = tool.args.model_validate(args)
    except ValidationError as error:
        return f"{NOT_AS_IT_IS} {argument_faults(error)}"
    except FinetuneError as error:
        return f"{NOT_AS_IT_IS} {error.line()}"
    if tool.plan is None:
        return tool.description
    try:
        return tool.plan(valid)
    except FinetuneError as error:
        return f"{NOT_AS_IT_IS} {error.line()}"
    except OSError as error:  # a name that no file can have, a folder that cannot be read
        return f"{NOT_AS_IT_IS} {error.strerror or error}"
    except Exception as error:
        return f"{tool.description}\n\n*There is no plan, by a bug in this program: {error!r}*"


def impossible(planned: str) -> str | None:
    """Why the step whose plan this is cannot be done as it is: nobody needs to be asked. None where it can."""
    return planned.removeprefix(NOT_AS_IT_IS).strip() if planned.startswith(NOT_AS_IT_IS) else None
