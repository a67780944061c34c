"""Would more data help? The same training on a quarter and on half of the rows, measured on the same test rows."""

from __future__ import annotations

import gc
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from executor.data.rows import answer, sources_of
from executor.evaluate.ask import ask
from executor.evaluate.statistics import RESAMPLES, Clusters, interval, numbers, repeated
from executor.evaluate.systems import prompt_of
from executor.files import read_json, read_jsonl, write_json
from executor.job import Job
from executor.prepare_model import in_four_bits
from executor.spec import TrainSpec, steps_per_epoch
from executor.stage_answers import score_of
from executor.stage_train import OtherRows, task_metric, with_rate
from executor.train.loop import DivergedError, train
from executor.train.model import to_train

SHARES = (0.25, 0.5)
"""of the training rows, beside all of them"""
LEAST_ERROR = 1e-3
"""an error rate of zero has no logarithm"""


@dataclass(frozen=True)
class PartOfRows(OtherRows):
    """A training on a share of the rows; a smaller share is part of a larger one."""

    share: float
    seed: int

    def rows(self, split: str) -> list[Any]:
        rows = self.rows_of.rows(split)
        if split != "train":
            return rows
        order = list(range(len(rows)))
        random.Random(self.seed).shuffle(order)  # noqa: S311 (an order, not a secret)
        return [rows[place] for place in sorted(order[: max(1, round(self.share * len(rows)))])]


def curve(job: Job) -> dict[str, Any]:
    """`learning_curve`: the score at each share of the rows, and what twice the rows would probably give.

    A share on which the training diverged is left out; `next` is None where fewer than two points are left.
    """
    points = [each for each in (point(job, share) for share in SHARES) if each["values"] is not None]
    lines = read_jsonl(job.run.outputs("fine_tuned"))
    points.append({"share": 1.0, "rows": len(job.run.rows("train")), "values": values_of(lines)})
    of = sources_of(job.run.rows("test"), job.spec.data.cluster)
    told = [
        {key: each[key] for key in ("share", "rows")} | interval(each["values"], job.scorer.binary, of)
        for each in points
    ]
    ahead = doubled(points, job.spec.evaluate.min_useful_gain, of) if len(points) > 1 else None
    return {"learning_curve": {"points": told, "next": ahead}}


def values_of(lines: Sequence[dict[str, Any]]) -> list[float]:
    return [line["scores"]["task_accuracy"] for line in lines]


def point(job: Job, share: float) -> dict[str, Any]:
    """One share: `share, rows, values`; one that is finished is not trained again."""
    run = PartOfRows(job.run.path / "curve" / f"{share:g}", job.run, share, job.spec.data.seed)
    done = run.path / "point.json"
    if done.exists():
        found: dict[str, Any] = read_json(done)
        return found
    run.path.mkdir(parents=True, exist_ok=True)
    spec = job.spec
    if sweep := (job.run.summary("train") or {}).get("sweep"):
        spec = with_rate(spec, sweep["chosen"])
    steps = steps_of(spec.train, len(job.run.rows("train")), len(run.rows("train")), len(run.rows("replay")))
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"steps": steps})})
    folder = in_four_bits(job.base_folder, job.say) if spec.train.method == "qlora" else job.base_folder
    model = to_train(folder, spec)

    def report(done: int, total: int, unit: str) -> None:
        job.report(done, total, f"{unit} on {share:.0%} of the rows")

    values: list[float] | None = None
    try:
        train(model, run, spec, job.template, report, job.stop, task_metric(job))
        model.eval()
        rows = job.run.rows("test")
        unit = f"answers, {share:.0%} of the rows"
        replies = ask(job, model, [prompt_of(row) for row in rows], unit, [row.get("tools") for row in rows])
        values = [score_of(job, reply.text, answer(row)) for reply, row in zip(replies, rows, strict=True)]
    except DivergedError as error:
        job.say(f"the training on {share:.0%} of the rows diverged: {error.what}")
    del model
    gc.collect()
    result = {"share": share, "rows": len(run.rows("train")), "values": values}
    write_json(done, result)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    return result


def steps_of(train: TrainSpec, all_rows: int, rows: int, replay: int) -> int:
    """As many passes over the fewer rows; the replayed rows are as many as before."""
    each, whole = (steps_per_epoch(count, replay, train.batch_size) for count in (rows, all_rows))
    return max(1, round(train.steps * each / whole))


def doubled(points: Sequence[dict[str, Any]], useful: float, clusters: Clusters = None) -> dict[str, Any]:
    """The score to expect from twice the rows: `rows, value, low, high, says`.

    A power law of the error in the number of rows (Hestness et al. 2017), fitted by least squares on logarithms; the
    interval is the bootstrap over test rows, or over their sources, so it holds the noise of the test, not the doubt
    about the law.
    """
    rows = np.asarray([each["rows"] for each in points], dtype=float)
    values = np.asarray([each["values"] for each in points])
    groups = numbers(clusters or ()) if repeated(clusters) else np.arange(values.shape[1])
    random, count = np.random.default_rng(0), int(groups.max()) + 1
    drawn = random.integers(0, count, (RESAMPLES // 4, count))
    weights = np.stack([np.bincount(each, minlength=count)[groups] for each in drawn])
    expected = 1 - _extrapolated(rows, 1 - values.mean(1)[None])[0]
    sampled = 1 - _extrapolated(rows, 1 - (weights @ values.T) / weights.sum(1, keepdims=True))
    low, high = np.quantile(sampled, [0.025, 0.975])
    now = float(values[-1].mean())
    says = "would probably help" if low - now > 0 and expected - now >= useful else "cannot be told"
    says = "would hardly help" if high - now < useful else says
    return {"rows": int(2 * rows[-1]), "value": float(expected), "low": float(low), "high": float(high), "says": says}


def _extrapolated(rows: np.ndarray[Any, Any], errors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The error (B,) at twice the last number of rows, of errors (B, points); it never rises with more rows."""
    x, y = np.log(rows), np.log(np.maximum(errors, LEAST_ERROR))
    slope = ((x - x.mean()) * (y - y.mean(1, keepdims=True))).sum(1) / ((x - x.mean()) ** 2).sum()
    fitted = y.mean(1) + slope * (np.log(2 * rows[-1]) - x.mean())
    found: np.ndarray[Any, Any] = np.minimum(np.exp(np.where(slope < 0, fitted, y[:, -1])), 1.0)
    return found
