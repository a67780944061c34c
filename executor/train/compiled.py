"""Layers translated to code of their own by torch.compile, for each of the few lengths that batches are rounded up to.

One length, one translation: what a step computes does not depend on the lengths seen before, so a resumed run computes
the same. Every layer of a kind shares its code, so a translation is paid once (twice: the first layer's input
needs no gradient), not once for each layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from executor.errors import UserError
from executor.train.model import device

LENGTHS = 128
"""different shapes that code is kept for, at most"""


def compile_layers(model: Any) -> None:
    """Compile the repeated layers of `model` in place. Raises UserError where nothing can be compiled."""
    try:
        torch.compile(torch.square)(torch.ones(8, device=device()))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"torch.compile does not work here: {reason}", "train.compile",
            "Install a C++ compiler (on a GPU, triton too), or leave train.compile out of the spec.",
        ) from error  # fmt: skip
    torch._dynamo.config.recompile_limit = LENGTHS
    kinds = model._no_split_modules or ()
    for module in model.modules():
        if type(module).__name__ in kinds:
            module.compile(dynamic=False)


@contextmanager
def plainly() -> Iterator[None]:
    """Compiled layers compute without their code in here: generation has another length with every token."""
    with torch.compiler.set_stance("force_eager"):
        yield
