"""Why training went wrong: words, a log or a run folder in, ranked causes out, each with a check and a fix."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from executor.home import runs_folder
from knowledge.load import Cause, CauseClass, causes, references
from tools.base import Args, Result, Tool, UserError

MOST = 5
"""So many diagnoses at most."""

TAIL = 100_000
"""So many characters of a log are read, from its end; errors stand there."""

LINE = 2_000
"""Longer lines are cut: a progress bar or a dumped tensor says nothing more after this."""

SAME_CLASS = 0.6
"""Factor for a further cause of a class that was already named, so that the first three differ."""

LIKELY = 4.0
"""A weight of so much gives a score of 0.63; see `_score`."""

LEAST = 1.2
"""Causes below this weight are not named."""

_LOSS = re.compile(r"(?<![a-z_])['\"]?(?:train_)?loss['\"]?\s*[:=]\s*(nan|inf|\d+(?:\.\d+)?(?:e[+-]?\d+)?)\b", re.I)
_SERIES = re.compile(r"\d+\.\d+(?:\s*(?:->|→)\s*\d+\.\d+){2,}")


class DiagnoseArgs(Args):
    symptom: str
    """what went wrong in your own words, or the text of a log, or the path of a log file or a run folder"""


class Diagnosis(BaseModel):
    cause_class: CauseClass
    cause: str
    evidence: str
    check: str
    fix: str
    score: float
    """0..1"""
    sources: list[str]


class DiagnoseResult(Result):
    diagnoses: list[Diagnosis]
    """best first"""
    sources: list[dict[str, str | None]]

    def text(self) -> str:
        if not self.diagnoses:
            return (
                "I recognise no known cause in this. Tell me what you saw (the error's last line, the first and last "
                "losses, or what the answers look like), or give me the run folder."
            )
        first, *others = self.diagnoses
        lines = [
            f"**Most likely:** {first.cause} {_cite(first)}",
            f"- Seen: {first.evidence}",
            f"- Check: {first.check}",
            f"- Fix: {first.fix}",
        ]
        if others:
            lines += ["", "If the check says no:"]
            lines += [f"{n}. {each.cause} Check: {each.check} {_cite(each)}" for n, each in enumerate(others[:2], 2)]
        return "\n".join(lines)


@dataclass
class Signals:
    """What speaks for a cause: the weight for each cause id, and the words that were seen."""

    weights: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    seen: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, cause: str, weight: float, words: str) -> None:
        self.weights[cause] += weight
        self.seen[cause].append(words)


def diagnose(args: DiagnoseArgs) -> DiagnoseResult:
    signals = Signals()
    text, rows = _material(args.symptom.strip())
    _from_words(text, signals)
    _from_numbers(rows, signals)
    ranked = _rank(signals)
    cited = [each for one in ranked for each in one.sources]
    return DiagnoseResult(diagnoses=ranked, sources=references(cited))


def _material(symptom: str) -> tuple[str, list[dict[str, float]]]:
    """The text to read and the logged metrics, whatever was given."""
    path = _path(symptom)
    if path is None:
        return symptom[-TAIL:], _metrics_in_text(symptom[-TAIL:])
    if path.is_dir():
        return _read_run(path)
    text = _tail(path)
    if path.suffix == ".jsonl":
        return "", _metrics(path)
    return text, _metrics_in_text(text)


def _path(symptom: str) -> Path | None:
    """The existing path or run that the words name. Raises UserError for words that only can be a path."""
    if not symptom or len(symptom) > 1_000 or "\n" in symptom:
        return None
    candidates = [Path(symptom).expanduser(), runs_folder() / symptom]
    try:
        found = next((each for each in candidates if each.exists()), None)
    except OSError:  # a name too long for the file system is not a path
        return None
    pathlike = symptom.startswith(("/", "./", "~/")) or symptom.endswith((".log", ".jsonl"))
    if found is None and pathlike and " " not in symptom:
        raise UserError("No such log or run folder", symptom, "Give an existing path, or say in words what you saw.")
    return found


def _read_run(folder: Path) -> tuple[str, list[dict[str, float]]]:
    """A run folder's own words (reason, stage, settings) and its metrics."""
    if not (folder / "status.json").exists() and not (folder / "metrics.jsonl").exists():
        raise UserError("This folder is no run", str(folder), "A run folder holds status.json and metrics.jsonl.")
    status = _json(folder / "status.json")
    parts = [str(status.get("reason") or "")] if status.get("state") in ("failed", "stopped") else []
    parts += [_tail(log) for log in sorted(folder.glob("*.log"))]
    return "\n".join(parts), _metrics(folder / "metrics.jsonl") + _settings(folder / "spec.yaml")


def _settings(path: Path) -> list[dict[str, float]]:
    """The numbers among a spec's settings, as one more row; they never outweigh what was measured."""
    if not path.exists():
        return []
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
    except yaml.YAMLError:
        return []
    try:  # YAML 1.1 reads 2e-4 as a string
        return [{"learning_rate_set": float(_find(spec, "learning_rate"))}]
    except (TypeError, ValueError):
        return []


def _find(tree: Any, key: str) -> Any:
    if not isinstance(tree, dict):
        return None
    if key in tree:
        return tree[key]
    return next((found for value in tree.values() if (found := _find(value, key)) is not None), None)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _tail(path: Path) -> str:
    try:
        with open(path, "rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL))
            return log.read().decode("utf-8", errors="replace")
    except OSError as error:
        raise UserError(
            f"Cannot read the log: {error.strerror}", str(path), "Check the path and its rights."
        ) from error


def _metrics(path: Path) -> list[dict[str, float]]:
    """The numeric fields of each whole line; other lines are passed over."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            row["loss"] = row.get("loss", row.get("train_loss"))
            rows.append({key: float(value) for key, value in row.items() if isinstance(value, int | float)})
    return rows


def _metrics_in_text(text: str) -> list[dict[str, float]]:
    """Losses printed in a log, or written as `2.1 -> 3.4 -> 9.2`."""
    losses = [float(each) for each in _LOSS.findall(text)]
    if not losses and "loss" in text.lower() and (series := _SERIES.search(text)):
        losses = [float(each) for each in re.findall(r"\d+\.\d+", series.group())]
    return [{"loss": each} for each in losses] if len(losses) > 2 else []


@cache
def _compiled() -> tuple[tuple[Cause, tuple[tuple[re.Pattern[str], float], ...]], ...]:
    return tuple(
        (cause, tuple((re.compile(pattern, re.I), weight) for pattern, weight in cause.signals)) for cause in causes()
    )


def _from_words(text: str, signals: Signals) -> None:
    """Each signal counts once, however often it occurs."""
    text = "\n".join(line[:LINE] for line in text.splitlines())
    for cause, patterns in _compiled():
        for pattern, weight in patterns:
            if match := pattern.search(text):
                signals.add(cause.id, weight, f"“{' '.join(match.group().split())[:60]}”")


def _from_numbers(rows: list[dict[str, float]], signals: Signals) -> None:
    """Signals in the curves: not a number, zero from the start, flat, rising, overfitting, no gradient."""
    losses = [row["loss"] for row in rows if "loss" in row]
    finite = [each for each in losses if math.isfinite(each)]
    if len(finite) < len(losses):
        signals.add("fp16_overflow", 5, "a loss that is no finite number")
        signals.add("learning_rate_high", 3, "a loss that is no finite number")
    if len(finite) >= 3 and not any(finite[:3]):
        signals.add("all_labels_masked", 7, "loss 0 from the first step")
        signals.add("fp16_overflow", 2.5, "loss 0 from the first step")
    elif len(finite) >= 3:
        _from_trend(finite, signals)
    norms = [row["grad_norm"] for row in rows if "grad_norm" in row]
    if norms and not any(norms):
        signals.add("adapter_frozen", 6, "gradient norm 0 throughout")
        signals.add("checkpointing_without_input_grads", 4, "gradient norm 0 throughout")
    _from_evaluation(finite, [row["eval_loss"] for row in rows if "eval_loss" in row], signals)
    if rates := [row["learning_rate_set"] for row in rows if "learning_rate_set" in row]:
        _from_rate(rates[0], signals)


def _from_trend(losses: list[float], signals: Signals) -> None:
    """Compares the means of the first and the last quarter; a spike is ten times the median."""
    quarter = max(1, len(losses) // 4)
    first, last = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
    told = f"loss {first:.3g} at first, {last:.3g} at last"
    if last > 1.3 * first:
        signals.add("learning_rate_high", 5, told)
    elif len(losses) >= 10 and abs(last - first) < 0.02 * first:
        signals.add("learning_rate_low", 4, told)
        signals.add("checkpointing_without_input_grads", 2, told)
    middle = sorted(losses)[len(losses) // 2]
    if max(losses) > 10 * middle and last <= 1.3 * first:
        signals.add("learning_rate_high", 3, f"a spike to {max(losses):.3g}")


def _from_evaluation(losses: list[float], evals: list[float], signals: Signals) -> None:
    finite = [each for each in evals if math.isfinite(each)]
    if len(finite) < len(evals):
        signals.add("evaluation_wrong", 4, "an evaluation loss that is no finite number")
        signals.add("answers_cut", 3, "an evaluation loss that is no finite number")
    if len(finite) >= 3 and losses and finite[-1] > 1.05 * min(finite) and losses[-1] < losses[0]:
        signals.add("overfit", 7, f"evaluation loss {min(finite):.3g} at best, {finite[-1]:.3g} at last")


def _from_rate(rate: float, signals: Signals) -> None:
    """The set rate sharpens a suspicion that the curve raised; alone it proves nothing."""
    if rate >= 1e-3 and signals.weights["learning_rate_high"]:
        signals.add("learning_rate_high", 2, f"learning rate {rate:g}")
    if rate <= 3e-5 and signals.weights["learning_rate_low"]:
        signals.add("learning_rate_low", 2, f"learning rate {rate:g}")


def _rank(signals: Signals) -> list[Diagnosis]:
    known = {cause.id: cause for cause in causes()}
    order = sorted(signals.weights.items(), key=lambda item: -item[1])
    named: Counter[str] = Counter()
    found = []
    for id_, weight in order:
        cause = known[id_]
        effective = weight * SAME_CLASS ** named[cause.cause_class]
        named[cause.cause_class] += 1
        if effective >= LEAST:
            found.append(_diagnosis(cause, effective, signals.seen[id_]))
    return sorted(found, key=lambda each: -each.score)[:MOST]


def _diagnosis(cause: Cause, weight: float, seen: list[str]) -> Diagnosis:
    return Diagnosis(
        cause_class=cause.cause_class,
        cause=cause.cause,
        evidence=f"{', '.join(seen[:3])}. Typical: {cause.evidence}",
        check=cause.check,
        fix=cause.fix,
        score=_score(weight),
        sources=list(cause.source),
    )


def _score(weight: float) -> float:
    """1 − e^(−weight/4): 0.63 at 4, 0.86 at 8, never 1."""
    return round(1 - math.exp(-weight / LIKELY), 3)


def _cite(diagnosis: Diagnosis) -> str:
    return f"[{', '.join(diagnosis.sources)}]"


DIAGNOSE = Tool(
    name="diagnose",
    description=(
        "Why a training run, an evaluation or an exported model misbehaves: ranked causes with a check and a fix. "
        "Call it for any error, strange loss or bad output; pass the user's words, a log, or a run folder."
    ),
    args=DiagnoseArgs,
    result=DiagnoseResult,
    run=diagnose,
    command='finetune doctor "{symptom}"',
)
