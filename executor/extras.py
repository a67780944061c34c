"""Packages that not everyone needs: extras of this one."""

from __future__ import annotations

from importlib.util import find_spec

from executor.errors import UserError


def need(name: str, what: str, option: str, extra: str | None = None) -> None:
    """Raises UserError where the package `name` is not installed; it is what the extra (of that name) brings."""
    if find_spec(name) is None:
        fix = f"Install it with pip install 'fine-tuning-assistant[{extra or name}]', or leave {option} out."
        raise UserError(f"{what} is not installed", option, fix)
