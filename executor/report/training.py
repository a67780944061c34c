"""How the training went: the loss, the state that was chosen, the learning rates that were tried."""

from __future__ import annotations

from collections.abc import Callable

from executor.report import draw
from executor.report import figures as say
from executor.report.document import Block, Figure, Origin, Paragraph, Section, Table
from executor.report.folder import RunFiles, mapping, mappings, number

LOSS_ROWS = 12


def loss(run: RunFiles) -> Section | None:
    """Training loss over steps with evaluation points. Losses that are no finite number are counted, not drawn."""
    raw, lost = _series(run, "loss")
    checks, lost_checks = _series(run, "eval_loss")
    if not raw and not checks:
        return None
    smooth = draw.smoothed(raw)
    metric, _ = _series(run, "task_metric")
    steps = _shown([x for x, _ in smooth], [x for x, _ in checks])
    columns: list[tuple[str, Callable[[float], str]]] = [
        ("step", say.whole),
        ("train loss, smoothed", lambda step: _at(smooth, step)),
        ("evaluation loss", lambda step: _at(checks, step)),
    ]
    if metric:
        columns.append(("task metric, validation sample", lambda step: _at(metric, step)))
    head = tuple(name for name, _ in columns)
    rows = tuple(tuple(value(step) for _, value in columns) for step in steps)
    origin = Origin("measured", "metrics.jsonl; smoothed: mean of neighbouring steps")
    says = _told(smooth, checks, metric)
    table = Table(head, rows, tuple(range(len(head))), origin, "Training loss and evaluation loss")
    blocks: list[Block] = [Figure(draw.curve(raw, smooth, checks, says), table), Paragraph(says)]
    if lost + lost_checks:
        blocks.append(Paragraph(f"{lost + lost_checks} logged losses are not finite numbers and are not drawn."))
    blocks += [block for block in (_rewards(run), _chosen(run), _sweep(run)) if block]
    return Section("How training went", tuple(blocks))


def _rewards(run: RunFiles) -> Paragraph | None:
    """After preference training: how often the chosen reply has the higher reward, and by how much."""
    right, _ = _series(run, "eval_reward_accuracy")
    margin, _ = _series(run, "eval_reward_margin")
    if not right or not margin:
        return None
    best = number(mapping(run.summary.get("metrics")).get("best_step"))
    (step, share), (_, by) = (next((p for p in line if p[0] == best), line[-1]) for line in (right, margin))
    return Paragraph(
        f"Of the validation pairs the chosen reply had the higher reward in {say.share(share)} after step "
        f"{say.whole(step)}, by {by:.3f} in the mean (reward: beta times the rise of a reply's log-probability)."
    )


def _chosen(run: RunFiles) -> Paragraph | None:
    """Which state became the result, where it was chosen, and whether training ended before its last step."""
    measured = mapping(run.summary.get("metrics"))
    planned = mapping(run.spec.get("train")).get("steps")
    said = []
    if number(measured.get("best_step")) is not None:
        said.append(
            f"The state after step {say.whole(measured['best_step'])} was best in validation: it is the result."
        )
    if measured.get("ended_early") is True:
        said.append(
            f"Training ended early, after {say.whole(measured.get('steps'))} of {say.whole(planned)} steps: "
            "validations brought nothing better."
        )
    return Paragraph(" ".join(said)) if said else None


def _sweep(run: RunFiles) -> Table | None:
    """The learning rates that were tried, and which one trained the run."""
    found = mapping(run.summary.get("sweep"))
    trials = mappings(found.get("trials"))
    if not trials:
        return None
    rows = tuple(
        (
            say.plain(trial.get("learning_rate"))
            + (" (chosen)" if trial.get("learning_rate") == found.get("chosen") else ""),
            say.decimal(trial.get("eval_loss")) if number(trial.get("eval_loss")) is not None else "diverged",
            say.share(trial["task_metric"]) if number(trial.get("task_metric")) is not None else say.NONE,
            say.duration(trial.get("seconds")),
        )
        for trial in trials
    )
    origin = Origin("measured", "on the validation rows, after a short training with each rate")
    head = ("learning rate", "evaluation loss", "task metric", "time")
    return Table(head, rows, (0, 1, 2, 3), origin, "Learning rates tried")


def _series(run: RunFiles, key: str) -> tuple[list[draw.Point], int]:
    points, lost = {}, 0
    for line in run.logged:
        step, value = number(line.get("step")), number(line.get(key))
        if line.get(key) is not None and value is None:
            lost += 1
        elif step is not None and value is not None:
            points[step] = value  # a resumed run logs a step again: the later line counts
    return sorted(points.items()), lost


def _shown(steps: list[float], checks: list[float]) -> list[float]:
    every = max(1, len(steps) // LOSS_ROWS)
    return sorted({*steps[::every], *steps[-1:], *checks[-LOSS_ROWS:]})


def _at(points: list[draw.Point], step: float) -> str:
    return next((f"{y:.4f}" for x, y in points if x == step), say.NONE)


def _told(smooth: list[draw.Point], checks: list[draw.Point], metric: list[draw.Point]) -> str:
    said = []
    if smooth:
        (_, first), (steps, last) = smooth[0], smooth[-1]
        said.append(f"Training loss (smoothed) went from {first:.3f} to {last:.3f} in {say.whole(steps)} steps.")
    if checks:
        (step, best), (_, last) = min(checks, key=lambda check: check[1]), checks[-1]
        said.append(f"Evaluation loss was lowest at step {say.whole(step)} ({best:.3f}) and ended at {last:.3f}.")
    if metric:
        (step, best), (_, last) = max(metric, key=lambda check: check[1]), metric[-1]
        said.append(
            f"The task metric on the validation sample was highest at step {say.whole(step)} ({say.share(best)})"
        )
        said.append(f"and ended at {say.share(last)}.")
    return " ".join(said)
