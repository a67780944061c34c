"""Two runs beside each other: what was set otherwise, and what it gave."""

from __future__ import annotations

from typing import Any

from executor.data.rows import sources_of
from executor.errors import UserError
from executor.evaluate.metrics import METRICS, metric_name
from executor.evaluate.statistics import compare
from executor.files import read_json, read_jsonl
from executor.report.folder import flat
from executor.run_folder import RunFolder
from executor.spec import MetricName

NOT_SETTINGS = ("cited", "estimate", "licences", "reasons", "stages")
FIGURES = ("eval_loss", "steps", "tokens_per_second", "seconds", "peak_memory_bytes")


def difference(a: RunFolder, b: RunFolder) -> dict[str, Any]:
    """`a, b, settings, data, scores, metrics, verdicts`: of each, what differs; scores on the same rows are paired."""
    same_test = test_hash(a) == test_hash(b) is not None
    return {
        "a": a.name,
        "b": b.name,
        "settings": settings(a, b),
        "data": {"same_rows": data_version(a) == data_version(b), "same_test": same_test},
        "metric": [metric_of(a), metric_of(b)],
        "scores": scores(a, b, same_test),
        "metrics": metrics(a, b),
        "verdicts": [(run.result() or {}).get("verdict") for run in (a, b)],
        "notes": {run.name: run.notes() for run in (a, b)},
    }


def settings(a: RunFolder, b: RunFolder) -> list[dict[str, Any]]:
    """`key, a, b` of each setting that is not the same."""
    both = [
        dict(flat({key: value for key, value in run.spec().model_dump(mode="json").items() if key not in NOT_SETTINGS}))
        for run in (a, b)
    ]
    keys = dict.fromkeys([*both[0], *both[1]])
    rows = [{"key": key, "a": both[0].get(key), "b": both[1].get(key)} for key in keys]
    return [row for row in rows if row["a"] != row["b"]]


def record(run: RunFolder) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(run.path / "data.json")
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read what the run was trained on: {error}", run.name, "Choose another run.") from error
    return found


def data_version(run: RunFolder) -> str | None:
    return record(run).get("version")


def test_hash(run: RunFolder) -> str | None:
    found: str | None = record(run).get("splits", {}).get("test", {}).get("sha256")
    return found


def scores(a: RunFolder, b: RunFolder, same_test: bool) -> list[dict[str, Any]]:
    """The task accuracy of each system that both measured; `b` against `a`, paired where the test rows are the same."""
    known = [(run.result() or {}).get("scores") or {} for run in (a, b)]
    found = []
    for system in known[0]:
        if system not in known[1]:
            continue
        row = {"system": system, **{key: each[system]["task_accuracy"] for key, each in zip("ab", known, strict=True)}}
        if same_test and metric_of(a) == metric_of(b) and all(run.outputs(system).exists() for run in (a, b)):
            values = [accuracies(run, system) for run in (b, a)]
            if len(values[0]) == len(values[1]):
                of = sources_of(b.rows("test"), b.spec().data.cluster)
                row["comparison"] = compare(b.name, values[0], a.name, values[1], METRICS[metric_of(b)].binary, of)
        found.append(row)
    return found


def accuracies(run: RunFolder, system: str) -> list[float]:
    return [line["scores"]["task_accuracy"] for line in read_jsonl(run.outputs(system))]


def metric_of(run: RunFolder) -> MetricName:
    spec = run.spec()
    return metric_name(spec.evaluate.metric, spec.data)


def metrics(a: RunFolder, b: RunFolder) -> list[dict[str, Any]]:
    both = [(run.result() or {}).get("metrics") or {} for run in (a, b)]
    return [
        {"key": key, "a": both[0].get(key), "b": both[1].get(key)}
        for key in FIGURES
        if both[0].get(key) is not None or both[1].get(key) is not None
    ]


def difference_text(found: dict[str, Any]) -> str:
    """The difference in words: what was changed, then what it gave."""
    lines = [f"**{found['a']}** and **{found['b']}**"]
    changed = [f"- {row['key']}: {shown(row['a'])} → {shown(row['b'])}" for row in found["settings"]]
    lines += ["Set otherwise:", *changed] if changed else ["Every setting is the same."]
    if not found["data"]["same_test"]:
        lines.append("The test rows are not the same: the scores below cannot be compared row by row.")
    if len(set(found["metric"])) > 1:
        lines.append(f"What counts as right is not the same ({' and '.join(found['metric'])}): nor can the scores be.")
    for row in found["scores"]:
        line = f"- {row['system']}: {row['a']['value']:.1%} → {row['b']['value']:.1%}"
        if pair := row.get("comparison"):
            points = [f"{100 * pair[key]:+.1f}" for key in ("difference", "low", "high")]
            line += f" ({points[0]} points, {points[1]} to {points[2]}, p = {pair['p_value']:.2g})"
        lines.append(line)
    lines += [f"- {row['key']}: {shown(row['a'])} → {shown(row['b'])}" for row in found["metrics"]]
    lines += [f"- noted on {name}: {note['text']}" for name, notes in found["notes"].items() for note in notes]
    return "\n".join(lines)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    text = "–" if value is None else str(value)
    return text if len(text) <= 80 else text[:80] + "…"
