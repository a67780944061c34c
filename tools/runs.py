"""Runs on disk: list, show, stop, and what a front end needs to follow one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from executor.encode import marked
from executor.errors import FinetuneError, Interrupted, ServiceError, UsageError, UserError
from executor.files import read_json
from executor.launch import follow, launch, stop
from executor.place import launched
from executor.run_folder import RunFolder, all_runs, find_run
from tools.base import Args, Result, Tool

NOT_GOOD = ("do_not_ship", "inconclusive")
RESUMABLE = ("stopped", "paused", "failed")
"""states of a run that can go on at its first unfinished stage"""


class RunsArgs(Args):
    action: Literal["list", "show", "stop", "diff", "note"] = "list"
    """list every run, show one, stop one (it saves first), compare two, or note what was found out"""
    run: str | None = None
    """name, unique beginning of the name, or path; for show and stop, the newest run if not given"""
    other: str | None = None
    """diff: the run that is set beside it"""
    text: str | None = None
    """note: what worked and what did not; it is shown when the same data is planned again"""


class RunsResult(Result):
    runs: list[dict[str, Any]] | None = None
    run: dict[str, Any] | None = None
    diff: dict[str, Any] | None = None

    def text(self) -> str:
        if self.diff is not None:
            from tools.run_diff import difference_text

            return difference_text(self.diff)
        if self.run is not None:
            return show_text(self.run)
        if not self.runs:
            return "There are no runs in this workspace yet. Start one with `finetune go DATA`."
        rows = [f"- `{r['name']}`: {r['state']}" + (f", {r['verdict']}" if r["verdict"] else "") for r in self.runs]
        return "Runs, newest first:\n" + "\n".join(rows)


def run_runs(args: RunsArgs) -> RunsResult:
    if args.action == "list":
        return RunsResult(runs=[brief(run) for run in all_runs()])
    if args.action == "diff":
        if not args.run or not args.other:
            raise UsageError("Two runs are compared", "finetune runs diff A B", "Name both.")
        from tools.run_diff import difference  # numpy: only where it is needed

        return RunsResult(diff=difference(find_run(args.run), find_run(args.other)))
    run = chosen(args.run)
    if args.action == "stop":
        stop(run)
    if args.action == "note":
        if not (args.text or "").strip():
            raise UsageError("The note is empty", "finetune runs note RUN TEXT", "Write what you found out.")
        run.note((args.text or "").strip())
    return RunsResult(run=progress(str(run.path)))


def chosen(name: str | None) -> RunFolder:
    """The named run, or the newest. Raises UserError where there is none."""
    if name:
        return find_run(name)
    newest = next(iter(all_runs()), None)
    if newest is None:
        raise UserError("There are no runs in this workspace", "", "Start one with `finetune go DATA`.")
    return newest


def going() -> str | None:
    """The path of the newest run that is going on."""
    return next((str(run.path) for run in all_runs() if run.status()["state"] == "running"), None)


def resumable(name: str) -> RunFolder:
    """The named run, or the newest that was stopped. Raises UserError where there is none."""
    if name:
        return find_run(name)
    for run in all_runs():
        if run.status()["state"] in RESUMABLE:
            return run
    raise UserError("No run was stopped", "", "`finetune runs` lists them.")


def brief(run: RunFolder) -> dict[str, Any]:
    status, result = run.status(), run.result() or {}
    tuned = ((result.get("scores") or {}).get("fine_tuned") or {}).get("task_accuracy") or {}
    return {
        "name": run.name,
        "run": str(run.path),
        "state": status["state"],
        "stage": status["stage"],
        "verdict": result.get("verdict"),
        "notes": run.notes(),
        "task_accuracy": tuned.get("value"),
    }


def progress(run: str) -> dict[str, Any]:
    """Everything a front end draws of a run: state, progress, curves, and the result once there is one."""
    folder = find_run(run)
    status, lines = folder.status(), folder.metrics()
    steps = [line for line in lines if isinstance(line.get("loss"), float | int)]
    evaluations = [line for line in lines if isinstance(line.get("eval_loss"), float | int)]
    keys = ("state", "stage", "reason", "pid")
    return {key: status.get(key) for key in keys} | {
        "name": folder.name,
        "path": str(folder.path),
        "note": status.get("note"),
        "progress": counted(status.get("progress")),
        "steps": [line["step"] for line in steps],
        "loss": [line["loss"] for line in steps],
        "eval_steps": [line["step"] for line in evaluations],
        "eval_loss": [line["eval_loss"] for line in evaluations],
        "seconds": steps[-1].get("seconds") if steps else None,
        "result": folder.result(),
        "notes": folder.notes(),
    }


def counted(progress: Any) -> dict[str, Any] | None:
    """The `done` of `total` `unit`s of a status; None where a damaged file says anything else."""
    whole = isinstance(progress, dict) and all(isinstance(progress.get(key), int) for key in ("done", "total"))
    return {"unit": "steps", **progress} if whole else None


def show_text(run: dict[str, Any]) -> str:
    lines = [f"Run `{run['name']}` is {run['state']}" + (f" ({run['stage']})." if run["state"] == "running" else ".")]
    if run["reason"]:
        lines.append(str(run["reason"]))
    if run["loss"]:
        lines.append(f"Step {run['steps'][-1]}, training loss {run['loss'][-1]:.3f} (measured).")
    if run["result"]:
        lines.append(result_text(run["result"]))
    lines += [f"Noted {note['at'][:10]}: {note['text']}" for note in run["notes"]]
    return "\n\n".join(lines)


def result_text(result: dict[str, Any]) -> str:
    """A finished job in words: verdict or decision first, then the scores with their intervals."""
    if result.get("equivalence"):
        return exported_text(result)
    if "watched" in result:
        from tools.watch import watch_text

        return watch_text(result)
    if not result.get("decision") and not result.get("verdict"):
        metrics = result.get("metrics") or {}
        loss = metrics.get("eval_loss")
        words = f"Trained {metrics.get('steps')} steps" if metrics else "Done"
        return words + (f"; validation loss {loss:.3f}." if loss is not None else ".")
    lines = []
    if result.get("verdict"):
        lines.append(f"**Verdict: {result['verdict']}.** " + " ".join(result.get("verdict_reasons") or []))
    elif result.get("decision"):
        because = " ".join(b["text"] for b in result["decision"]["because"])
        lines.append(f"**Decision: {result['decision']['approach']}, no training.** {because}")
    for system, scores in (result.get("scores") or {}).items():
        s = scores["task_accuracy"]
        lines.append(f"- {system}: {s['value']:.1%} ({s['low']:.1%} to {s['high']:.1%}, n = {s['n']}, measured)")
    if result.get("report"):
        lines.append(f"\nReport: {result['report']}")
    return "\n".join(lines)


def exported_text(result: dict[str, Any]) -> str:
    """Whether a delivered model answers the same, and what was held against what."""
    found = result["equivalence"]
    word = {True: "Equal.", False: "Not equal.", None: "Written."}[found["equal"]]
    lines = [f"**{word}** {result['target']} in {result['path']}", *found["reasons"]]
    if "url" in result:
        lines.append(f"Pushed: {result['url']} (commit {result['commit']})." if result["url"] else "Not pushed.")
    if found.get("prompts"):
        points = [f"{100 * found[key]:+.1f}" for key in ("difference", "low", "high")]
        lines.append(
            f"{found['same_prompt_tokens']} of {found['prompts']} prompts have the same tokens, "
            f"{found['same_outputs']} answers are identical; the score went from {found['score_before']:.1%} to "
            f"{found['score_after']:.1%} ({points[0]} points, {points[1]} to {points[2]}, measured)."
        )
    return "\n\n".join(lines)


def mask_shown(run: str) -> str | None:
    """What the loss of this training sees, with the first example marked; None where it trains nothing (yet)."""
    file = find_run(run).path / "examples.json"
    return marked(read_json(file)["train"]) if file.exists() else None


def start(run: RunFolder) -> RunFolder:
    """Launch the run process and return at once."""
    launch(run)
    return run


def wait(run: str) -> Iterator[dict[str, Any]]:
    """The statuses of a run as they change, until it is over."""
    return follow(find_run(run))


def ask_to_stop(run: str) -> dict[str, Any]:
    """Ask a run to save and stop, and wait for it."""
    return stop(find_run(run))


def beside_others() -> bool:
    """Whether a launcher such as torchrun started several processes, this one among them."""
    return launched() > 1


def outcome(run: str) -> dict[str, Any]:
    """The result of a finished run. Raises the error that it ended with."""
    folder = find_run(run)
    status, result = folder.status(), folder.result()
    if status["state"] == "done" and result is not None:
        return dict(result)
    fix = f"Resume with `finetune train --resume {folder.name}`; details are in {Path(folder.log_file).name}."
    error = status.get("error") or {"what": status["reason"] or "the run ended early", "where": folder.name, "fix": fix}
    kinds: dict[int, type[FinetuneError]] = {4: ServiceError, 130: Interrupted}
    code = 130 if status["state"] == "stopped" else status.get("exit_code") or 3
    raise kinds.get(code, UserError)(**error)


def exit_code(result: dict[str, Any]) -> int:
    unequal = (result.get("equivalence") or {}).get("equal") is False
    dropped = (result.get("drift") or {}).get("dropped") is True
    return 1 if result.get("verdict") in NOT_GOOD or unequal or dropped else 0


RUNS = Tool(
    name="runs",
    description=(
        "List the runs of this workspace, show one with its result, stop one, set two beside each other (what was "
        "changed, what it gave), or note what was found out about one."
    ),
    args=RunsArgs,
    result=RunsResult,
    run=run_runs,
    command="finetune runs",
)
