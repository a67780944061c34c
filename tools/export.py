"""A tuned run delivered in another form, with the proof that it still answers the same."""

from __future__ import annotations

import shutil
from pathlib import Path

from executor.errors import UsageError, UserError
from executor.export_folder import refuse_place, refuse_replacing, target_of, try_writing
from executor.export_spec import K_QUANTS, QUANTISER, ExportSpec, Quant, Target
from executor.files import read_json
from executor.run_folder import RunFolder, create_run, find_run
from executor.spec import STAGES, RunSpec
from tools.base import Tool
from tools.evaluate import tuned_folder
from tools.hub import HubArgs, hub_of, licences_now, push_text, refuse_hub_options
from tools.jobs import JobResult, launch
from tools.licence import licence_text

PARTS = ("train", "validation", "test", "documents")


class ExportArgs(HubArgs):
    run: str
    """the tuned run"""
    to: Target
    """merged: one 16-bit model for transformers; gguf: a file for llama.cpp; ollama: that with a Modelfile; vllm: the
    adapter with the command that serves it; hub: pushed to a Hugging Face hub with a model card"""
    out: str
    """the folder to write"""
    quant: Quant = "bf16"
    """of a GGUF file"""
    overwrite: bool = False
    """replace an existing export; a folder with anything else in it is never replaced"""


def planned_export(args: ExportArgs) -> tuple[RunFolder, RunSpec, str]:
    """(the tuned run, the spec of the export, what it does in words). Nothing that it tries to write stays."""
    if args.quant != "bf16" and args.to in ("merged", "vllm", "hub"):
        raise UsageError(f"{args.to} has no --quant", "--quant", "Use it with --to gguf or ollama.")
    if args.quant in K_QUANTS and shutil.which(QUANTISER) is None:
        fix = "Install llama.cpp, or use q8_0 or q4_0, which need nothing."
        raise UserError(f"--quant {args.quant} needs {QUANTISER} on the PATH", QUANTISER, fix)
    trained, out = find_run(args.run), target_of(args.out)
    tuned = tuned_folder(trained)
    if not (rows := trained.rows("test")):
        raise UserError(f"{trained.name} has no test rows to prove it with", str(trained.path), "Export a `go` run.")
    spec = trained.spec()
    refuse_place(out, (trained.path, tuned), [Path(spec.model.folder)] if spec.model.folder else ())
    refuse_replacing(out, args.overwrite)
    try_writing(out)
    licences, hub = licences_now(spec), None
    if args.to == "hub":
        hub = hub_of(args, spec, licences, spec.train.method == "full")
        words = push_text(trained.name, hub, out, len(rows), licences)
    else:
        refuse_hub_options(args, args.to)
        form = f"{args.to} ({args.quant})" if args.to in ("gguf", "ollama") else args.to
        words = f"Exporting {trained.name} as {form} to {out}; {len(rows)} test rows prove it."
    if out.exists():
        words += " It replaces the export that is there."
    evaluate = spec.evaluate.model_copy(
        update={"adapter": str(tuned), "endpoints": (), "judge": None, "harness": (), "against": None}
    )
    wish = ExportSpec(target=args.to, out=str(out), overwrite=args.overwrite, quant=args.quant, hub=hub)
    more = {"kind": "export", "stages": STAGES["export"], "evaluate": evaluate, "export": wish, "estimate": None}
    return trained, spec.model_copy(update=more | {"licences": licences}), f"{words}\n\n{licence_text(licences)}"


def plan_export(args: ExportArgs) -> str:
    return planned_export(args)[2]


def run_export(args: ExportArgs) -> JobResult:
    trained, spec, words = planned_export(args)
    record = read_json(trained.path / "data.json")
    parts = {name: rows for name in PARTS if (rows := trained.rows(name))}
    return launch(create_run(spec, parts, record), spec, words)


EXPORT = Tool(
    name="export",
    description=(
        "Deliver a tuned run as merged 16-bit weights, a GGUF file, for Ollama or for vLLM, or push it to a Hugging "
        "Face hub with a model card, and prove on the sealed test rows that it still answers the same. Starts a run, "
        "returns at once."
    ),
    args=ExportArgs, result=JobResult, run=run_export, asks_first=True, plan=plan_export,
    command=(
        "finetune export {run} --to {to} -o {out} --quant {quant} --repo {repo} --public {public} --form {form} "
        "--hub-url {hub_url} --token-env {token_env} --licence-checked {licence_checked} --yes {overwrite}"
    ),
)  # fmt: skip
