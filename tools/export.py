"""A tuned run delivered in another form, with the proof that it still answers the same."""

from __future__ import annotations

import shutil
from pathlib import Path

from executor.errors import UsageError, UserError
from executor.export_spec import K_QUANTS, QUANTISER, ExportSpec, Quant, Target
from executor.files import read_json
from executor.run_folder import create_run, find_run
from executor.spec import STAGES
from tools.base import Args, Tool
from tools.evaluate import tuned_folder
from tools.jobs import JobResult, launch

PARTS = ("train", "validation", "test", "documents")


class ExportArgs(Args):
    run: str
    """the tuned run"""
    to: Target
    """merged: one 16-bit model for transformers; gguf: a file for llama.cpp; ollama: that with a Modelfile; vllm: the
    adapter with the command that serves it"""
    out: str
    """the folder to write"""
    quant: Quant = "bf16"
    """of a GGUF file"""
    overwrite: bool = False
    """replace an existing folder"""


def run_export(args: ExportArgs) -> JobResult:
    if args.quant != "bf16" and args.to in ("merged", "vllm"):
        raise UsageError(f"{args.to} has no --quant", "--quant", "Use it with --to gguf or ollama.")
    if args.quant in K_QUANTS and shutil.which(QUANTISER) is None:
        fix = "Install llama.cpp, or use q8_0 or q4_0, which need nothing."
        raise UserError(f"--quant {args.quant} needs {QUANTISER} on the PATH", QUANTISER, fix)
    trained, out = find_run(args.run), Path(args.out).expanduser().absolute()
    tuned = tuned_folder(trained)
    if not trained.rows("test"):
        raise UserError(f"{trained.name} has no test rows to prove it with", str(trained.path), "Export a `go` run.")
    if out.exists() and not args.overwrite:
        raise UserError(f"{out.name} is there already", str(out), "Give another folder, or --yes to replace it.")
    spec = trained.spec()
    evaluate = spec.evaluate.model_copy(
        update={"adapter": str(tuned), "endpoints": (), "judge": None, "harness": (), "against": None}
    )
    wish = ExportSpec(target=args.to, out=str(out), quant=args.quant)
    more = {"kind": "export", "stages": STAGES["export"], "evaluate": evaluate, "export": wish, "estimate": None}
    spec = spec.model_copy(update=more)
    record = read_json(trained.path / "data.json")
    parts = {name: rows for name in PARTS if (rows := trained.rows(name))}
    made = create_run(spec, parts, record)
    form = f"{args.to} ({args.quant})" if args.to in ("gguf", "ollama") else args.to
    words = f"Exporting {trained.name} as {form} to {out}; {len(parts['test'])} test rows prove it."
    return launch(made, spec, words)


EXPORT = Tool(
    name="export",
    description=(
        "Deliver a tuned run as merged 16-bit weights, a GGUF file, for Ollama or for vLLM, and prove on the sealed "
        "test rows that it still answers the same. Starts a run, returns at once."
    ),
    args=ExportArgs, result=JobResult, run=run_export, asks_first=True,
    command="finetune export {run} --to {to} -o {out} --quant {quant} --yes {overwrite}",
)  # fmt: skip
