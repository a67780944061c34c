"""Training and validation loss over the steps of a run."""

from __future__ import annotations

import math
from typing import Any

from textual_plotext import PlotextPlot

SMALL = 6
"""rows below and at which the curve gets those of the upper frame and of the label"""


class LossPlot(PlotextPlot):  # type: ignore[misc]  # an untyped package
    def render(self) -> Any:
        small = self.size.height <= SMALL
        self.plt.xlabel(None if small else "step")
        self.plt.xaxes(True, not small)
        return super().render()

    def draw(self, progress: dict[str, Any]) -> None:
        """Plot `steps`/`loss` and `eval_steps`/`eval_loss` of a run's progress."""
        plot, line = self.plt, "braille"
        steps = finite(progress["steps"], progress["loss"])
        evals = finite(progress["eval_steps"], progress["eval_loss"])
        plot.clear_data()
        self.set_class(not steps[0], "-empty")
        if steps[0]:
            plot.plot(*steps, label="training loss", marker=line, color="cyan")
        if evals[0]:
            plot.plot(*evals, label="validation loss", marker=line, color="orange")
        self.refresh()


def finite(steps: list[int], losses: list[float]) -> tuple[list[int], list[float]]:
    """What can be drawn: a training that diverged has losses that are no numbers."""
    pairs = [(step, loss) for step, loss in zip(steps, losses, strict=True) if math.isfinite(loss)]
    return [step for step, _ in pairs], [loss for _, loss in pairs]
