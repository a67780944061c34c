"""Training and validation loss over the steps of a run."""

from __future__ import annotations

from typing import Any

from textual_plotext import PlotextPlot


class LossPlot(PlotextPlot):  # type: ignore[misc]  # an untyped package
    def draw(self, progress: dict[str, Any]) -> None:
        """Plot `steps`/`loss` and `eval_steps`/`eval_loss` of a run's progress."""
        plot, line = self.plt, "braille"
        evals = progress["eval_steps"], progress["eval_loss"]
        plot.clear_data()
        self.display = bool(progress["steps"])
        plot.xlabel("step")
        if progress["steps"]:
            plot.plot(progress["steps"], progress["loss"], label="training loss", marker=line, color="cyan")
        if progress["eval_steps"]:
            plot.plot(*evals, label="validation loss", marker=line, color="orange")
        self.refresh()
