"""The bundled example table, beside the package in a wheel and in `examples/` in a checkout."""

from __future__ import annotations

from pathlib import Path

import executor
from executor.errors import UserError

NAME = "support_tickets.csv"


def example_table() -> Path:
    """The example's path. Raises UserError where the installation lacks it."""
    package = Path(executor.__file__).parent
    for folder in (package / "examples", package.parent / "examples"):
        if (folder / NAME).exists():
            return folder / NAME
    raise UserError(f"The example {NAME} is missing", str(package), "Install the application again.")
