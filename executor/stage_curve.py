"""Would more data help? The same training on a quarter and on half of the rows, measured on the same test rows."""

from __future__ import annotations

import gc
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from executor.data.rows import answer
from executor.evaluate.ask import ask
from executor.evaluate.statistics import RESAMPLES, interval
from executor.evaluate.systems import prompt_of
from executor.files import read_json, read_jsonl, write_json
from executor.job import Job
from executor.prepare_model import in_four_bits
from executor.stage_train import OtherRows, with_rate
from executor.train.loop import train
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
    """`learning_curve`: the score at each share of the rows, and what twice the rows would probably give."""
    points = [point(job, share) for share in SHARES]
    lines = read_jsonl(job.run.outputs("fine_tuned"))
    points.append({"share": 1.0, "rows": len(job.run.rows("train")), "values": values_of(lines)})
    told = [{key: each[key] for key in ("share", "rows")} | scored(job, each["values"]) for each in points]
    return {"learning_curve": {"points": told, "next": doubled(points, job.spec.evaluate.min_useful_gain)}}


def values_of(lines: Sequence[dict[str, Any]]) -> list[float]:
    return [line["scores"]["task_accuracy"] for line in lines]


def scored(job: Job, values: Sequence[float]) -> dict[str, Any]:
    return interval(values, job.scorer.binary)


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
    steps = max(1, round(spec.train.steps * share))
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"steps": steps})})
    folder = in_four_bits(job.base_folder, job.say) if spec.train.method == "qlora" else job.base_folder
    model = to_train(folder, spec)

    def report(done: int, total: int, unit: str) -> None:
        job.report(done, total, f"{unit} on {share:.0%} of the rows")

    train(model, run, spec, job.template, report, job.stop, lambda _: None)
    model.eval()
    rows = job.run.rows("test")
    replies = ask(job, model, [prompt_of(row) for row in rows], f"answers, {share:.0%} of the rows")
    values = [job.scorer(reply.text, answer(row))["task_accuracy"] for reply, row in zip(replies, rows, strict=True)]
    del model
    gc.collect()
    result = {"share": share, "rows": len(run.rows("train")), "values": values}
    write_json(done, result)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    return result


def doubled(points: Sequence[dict[str, Any]], useful: float) -> dict[str, Any]:
    """The score to expect from twice the rows: `rows, value, low, high, says`.

    A power law of the error in the number of rows (Hestness et al. 2017), fitted by least squares on logarithms; the
    interval is the bootstrap over test rows, so it holds the noise of the test, not the doubt about the law.
    """
    rows = np.asarray([each["rows"] for each in points], dtype=float)
    values = np.asarray([each["values"] for each in points])
    random = np.random.default_rng(0)
    drawn = random.integers(0, values.shape[1], (RESAMPLES // 4, values.shape[1]))
    expected = 1 - _extrapolated(rows, 1 - values.mean(1)[None])[0]
    sampled = 1 - _extrapolated(rows, 1 - values[:, drawn].mean(2).T)
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
