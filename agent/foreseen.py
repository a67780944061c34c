"""What a person reads before approving a step: the plan of exactly these arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from tools.base import FinetuneError, Tool, argument_faults

NOT_AS_IT_IS = "**This will not run as it is.**"


def foreseen(tool: Tool[Any, Any], args: Mapping[str, Any], check: Callable[[], None] = lambda: None) -> str:
    """The plan of a call as Markdown, or the tool's description where it plans nothing; why there is no plan.

    `check` raises FinetuneError where the call may not read what it names: then its plan does not read it either.
    """
    if tool.plan is None:
        return tool.description
    try:
        check()
        return tool.plan(tool.args.model_validate(args))
    except ValidationError as error:
        return f"{NOT_AS_IT_IS} {argument_faults(error)}"
    except FinetuneError as error:
        return f"{NOT_AS_IT_IS} {error.line()}"
    except OSError as error:  # a name that no file can have, a folder that cannot be read
        return f"{NOT_AS_IT_IS} {error.strerror or error}"
