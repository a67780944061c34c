"""The commands that repeat a run or go on with it; only those whose files are there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from executor.files import read_json
from executor.report.document import Commands, Paragraph, Section
from executor.report.folder import RunFiles, mapping, mappings, number
from executor.servers import host_elsewhere

WHOLE = {"go": "the whole job", "compare": "the same comparison"}


def again(run: RunFiles) -> Section:
    """Commands that repeat or continue this run; only those whose files are there."""
    folder, kind = run.path.absolute(), str(run.spec.get("kind") or "go")

    def there(name: str) -> bool:
        return (folder / name).exists()

    def path(name: str) -> str:
        return shlex.quote(str(folder / name))

    lines = []
    source = mapping(run.data.get("source")).get("path") or mapping(run.spec.get("data")).get("path")
    if kind in ("evaluate", "endpoint", "watch"):
        lines.append(("the same evaluation", " ".join(["finetune evaluate", *evaluated(run)])))
    elif source:
        verb = kind if kind in WHOLE else "go"
        lines.append((WHOLE[verb], " ".join(["finetune", verb, shlex.quote(str(source)), *job_options(run, verb)])))
    if there("spec.yaml") and kind in ("go", "train"):
        lines.append(("train again with the same settings", f"finetune train {path('spec.yaml')}"))
    if there("adapter") and there("data/test.jsonl"):
        lines.append(("score the tuned model again", f"finetune evaluate {path('')} --data {path('data/test.jsonl')}"))
    return Section("How to run it again", (Commands(tuple(lines)) if lines else Paragraph("No spec was recorded."),))


def job_options(run: RunFiles, verb: str) -> list[str]:
    """What the spec says beyond the data file, as options of `finetune go` or `compare`."""
    data, evaluate = (mapping(run.spec.get(part)) for part in ("data", "evaluate"))
    form, stages = mapping(evaluate.get("form")), run.spec.get("stages")
    licences = mapping(run.spec.get("licences"))
    chosen = mapping(mapping(run.spec.get("reasons")).get("evaluate.metric")).get("reason") != "You named it."
    named: dict[str, Any] = {
        "--systems": ",".join(map(str, evaluate.get("systems") or []))
        if verb == "compare" and _all(evaluate)
        else None,
        "--test": data.get("test"),
        "--prompt": data.get("prompt_file"),
        "--documents": data.get("documents"),
        "--task": data.get("task"),
        "--base-model": _model(run),
        "--budget": f"{number(run.spec.get('budget')):g}s" if number(run.spec.get("budget")) else None,
        "--target": evaluate.get("target"),
        "--metric": None if chosen else evaluate.get("metric"),
        "--format": form.get("file") or form.get("regex"),
        "--cluster": data.get("cluster"),
        "--calls-per-month": evaluate.get("calls_per_month"),
        "--processes": _processes(run),
        "--data-licence": licences.get("data") if licences.get("data_from") == "you said so" else None,
        "--teacher": licences.get("teacher"),
    }
    slices = [("--slice", column) for column in data.get("slices") or []]
    columns = [("--map", f"{role}={column}") for role, column in mapping(data.get("mapping")).items()]
    switches = [
        option
        for option, is_on in {
            "--drop-overlap": data.get("drop_overlap"),
            "--learning-curve": isinstance(stages, list) and "curve" in stages,
        }.items()
        if is_on
    ]
    slices += [("--harness", task) for task in evaluate.get("harness") or []]
    judge = mapping(evaluate.get("judge"))
    servers = [pair for each in mappings(evaluate.get("endpoints")) for pair in _server(each, "")]
    servers += _server(judge, "judge") if judge else []
    return [*_options([*named.items(), *slices, *columns, *servers]), *switches]


def evaluated(run: RunFiles) -> list[str]:
    """The arguments of the `finetune evaluate` that made this run."""
    data, evaluate = (mapping(run.spec.get(part)) for part in ("data", "evaluate"))
    tuned, rival = evaluate.get("adapter"), evaluate.get("against")
    servers = mappings(evaluate.get("endpoints"))
    named = [("--data", data.get("test")), *(pair for each in servers for pair in _server(each, ""))]
    rival = tuned if servers else rival
    against = str(Path(str(rival)).parent) if rival else None
    alone = servers and not tuned
    named += [("--against", against), ("--base-model", _model(run) if alone else None)]
    named += [("--harness", task) for task in evaluate.get("harness") or []]
    since = evaluate.get("since") or ("last" if run.spec.get("kind") == "watch" else None)
    words = _options([*named, ("--since", since), ("--target", evaluate.get("target"))])
    words += ["--drop-overlap"] if data.get("drop_overlap") else []
    return words if servers or not tuned else [shlex.quote(str(Path(str(tuned)).parent)), *words]


def _options(pairs: list[tuple[str, Any]]) -> list[str]:
    return [f"{option} {shlex.quote(str(value))}" for option, value in pairs if value is not None]


def _server(spec: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    first, rest = ("--judge", "--judge-") if prefix else ("--endpoint", "--")
    url = spec.get("url")
    key = spec.get("key") or ("none" if host_elsewhere(str(url)) else None)
    return [(first, url), (f"{rest}model", spec.get("model")), (f"{rest}key-env", key)]


def _all(evaluate: dict[str, Any]) -> bool:
    return bool(evaluate.get("every_system"))


def _model(run: RunFiles) -> Any:
    model = mapping(run.spec.get("model"))
    return model.get("folder") or model.get("hub_id") if model.get("source") in ("folder", "hub") else None


def _processes(run: RunFiles) -> int | None:
    try:
        count = number(mapping(read_json(run.path / "launch.json")).get("processes")) or 1
    except (OSError, ValueError):
        return None
    return int(count) if count > 1 else None
