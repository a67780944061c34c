"""The export stage: write the model in another form beside its place, prove it, and only then put it there."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from executor.data.rows import answer, shared_system, sources_of
from executor.errors import DiskFullError, UserError, disk_is_full
from executor.evaluate.ask import ask
from executor.evaluate.systems import prompt_of
from executor.export.card import card
from executor.export.gate import Answers, gate, retest, untested
from executor.export.gguf_file import adds_start, to_gguf
from executor.export.hub import push
from executor.export.hub_folder import adapter_files, byte_fault, notices
from executor.export.llama import Llama, served
from executor.export.merge import merge
from executor.export.modelfile import Told, modelfile
from executor.export.vllm import command_of
from executor.export.weights import merge_fault
from executor.export_folder import PROOF, TELLS, put, refuse_place, refuse_replacing
from executor.export_spec import ExportSpec
from executor.files import append_jsonl, cannot_write, write_json, write_text
from executor.hub_spec import HubSpec, refuse_blocked
from executor.job import Job
from executor.report import write_report
from executor.run_folder import RunFolder
from executor.stage_answers import load_tuned, score_of
from executor.train.model import load_adapter, load_base

CONTEXT = 512
"""tokens of a llama.cpp context beyond the longest prompt and its answer"""
PLACED = "placed.txt"
"""in the run: it wrote the folder, so that a push which is resumed may write it anew"""


def export(job: Job) -> dict[str, Any]:
    """`target, path, equivalence`. What is not equal is written all the same, under its name, and said to be so."""
    wish = job.spec.export
    if wish is None:
        raise UserError("The spec exports nothing", str(job.run.path), "Use `finetune export RUN --to gguf -o DIR`.")
    out, placed = Path(wish.out), job.run.path / PLACED
    again = wish.overwrite or placed.exists()
    refuse_place(out, (tuned_folder(job),))
    refuse_replacing(out, again)
    work = out.with_name(f".{job.run.name}.part")
    with room_for(job, out, work):
        equivalence = MAKERS[wish.target](job, wish, work)
        write_json(work / PROOF, equivalence)
        if wish.target != "hub":
            write_json(work / TELLS, tells(job, wish))
        put(work, out, again)
    write_text(placed, f"{out}\n")
    found = {"target": wish.target, "path": wish.out, "equivalence": equivalence}
    if job.spec.licences:
        found["licences"] = [finding.text for finding in job.spec.licences.open]
    if wish.hub:
        found |= pushed(job, wish, bool(equivalence["equal"]))
    tell_the_run(job, found | {"quant": wish.quant if wish.target in ("gguf", "ollama") else None})
    return found


@contextmanager
def room_for(job: Job, out: Path, work: Path) -> Iterator[None]:
    """An empty folder `work`, which is gone afterwards. Raises UserError where `out` and its disk are what fails."""
    try:
        shutil.rmtree(work, ignore_errors=True)
        try:
            work.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(out, error) from error
        yield
    except Exception as error:
        where = str(getattr(error, "filename", None) or getattr(error, "where", ""))
        if not disk_is_full(error) or job.run.path in Path(where).parents:  # the run's own disk is told by its process
            raise
        fix = f"Free some space there and go on with `finetune train --resume {job.run.name}`."
        raise DiskFullError("The disk of the export is full", str(out), fix) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def tells(job: Job, wish: ExportSpec) -> dict[str, Any]:
    """export.json: what this is, and the system message under which the model was tuned, if all rows share one."""
    system = shared_system(job.run.rows("test"))
    return {
        "run": tuned_folder(job).parent.name, "target": wish.target,
        "quant": wish.quant if wish.target in ("gguf", "ollama") else None,
        "system": system, "base": job.spec.model.name, "dtype": job.spec.train.dtype,
    }  # fmt: skip


def tell_the_run(job: Job, found: dict[str, Any]) -> None:
    """What was delivered stands in the report of the run that was delivered."""
    run = RunFolder(tuned_folder(job).parent)
    append_jsonl(run.path / "exports.jsonl", found)
    if (run.path / "summary.json").exists():
        write_report(run.path)


def to_merged(job: Job, wish: ExportSpec, work: Path) -> dict[str, Any]:
    before = tuned_answers(job)
    fault = merged(job, work)
    job.say("asking the merged model the test rows")
    other = replace(job, base_folder=work)
    after = answers_here(other, load_base(work, job.spec.train.dtype))
    return tested_again(job, gate("merged", before, after, *how(job), fault), after)


def to_gguf_file(job: Job, wish: ExportSpec, work: Path) -> dict[str, Any]:
    before = tuned_answers(job)
    file, fault = gguf(job, wish, work)
    after = answers_of_llama(job, file)
    return tested_again(job, gate(wish.quant, before, after, *how(job), fault), after)


def to_ollama(job: Job, wish: ExportSpec, work: Path) -> dict[str, Any]:
    """The GGUF file with a Modelfile; llama.cpp, which Ollama runs, stands in for it in the proof."""
    found = to_gguf_file(job, wish, work)
    rows = [prompt_of(row) for row in job.run.rows("test")]
    file = f"model.{wish.quant}.gguf"
    told = Told(max(longest(job) + job.answer_limit, job.spec.train.max_length), shared_system(job.run.rows("test")))
    text, why = modelfile(job.template, file, rows, told, adds_start(work / file))
    if why:
        return found | {"equal": False, "reasons": [*found["reasons"], why]}
    write_text(work / "Modelfile", text)
    return found


def to_vllm(job: Job, wish: ExportSpec, work: Path) -> dict[str, Any]:
    """The adapter as it is, and the command that serves it. vLLM does not run here, so nothing is proved."""
    tuned = tuned_folder(job)
    write_text(work / "serve.txt", command_of(tuned, job.base_folder) + "\n")
    shutil.copytree(tuned, work / "adapter")
    return untested("Not tested: vLLM needs a GPU of its own. Its limits on adapters were checked.")


def to_hub(job: Job, wish: ExportSpec, work: Path) -> dict[str, Any]:
    """The folder that is pushed: the adapter, loaded again from it for the proof, or the merged model; and its card."""
    hub, tuned = wanted(wish), tuned_folder(job)
    if hub.form == "merged":
        found = to_merged(job, wish, work)
    else:
        before = tuned_answers(job)
        adapter_files(tuned, work, hub.base or job.spec.model.name)
        job.say("asking what is to be pushed the test rows")
        model = load_adapter(load_base(job.base_folder, job.spec.train.dtype), work)
        after = answers_here(replace(job, base_folder=work), model)
        found = tested_again(job, gate("merged", before, after, *how(job), byte_fault(tuned, work)), after)
    notices(job.base_folder, work)
    write_text(work / "README.md", card(tuned.parent, job.spec.licences, hub, found))
    return found


def pushed(job: Job, wish: ExportSpec, equal: bool) -> dict[str, Any]:
    """`url, commit` on the hub; both None for what does not answer the same."""
    hub = wanted(wish)
    if not equal:
        return {"url": None, "commit": None}
    refuse_blocked(job.spec.licences, hub)
    return dict(push(Path(wish.out), hub, job.say, f"finetune train --resume {job.run.name}"))


def wanted(wish: ExportSpec) -> HubSpec:
    if wish.hub is None:
        raise UserError("The spec does not say where to push", "export.hub", "Use `finetune export RUN --to hub`.")
    return wish.hub


MAKERS = {"merged": to_merged, "gguf": to_gguf_file, "ollama": to_ollama, "vllm": to_vllm, "hub": to_hub}


def tuned_folder(job: Job) -> Path:
    return Path(job.spec.evaluate.adapter or job.run.adapter)


def merged(job: Job, folder: Path) -> str:
    """What is wrong with the merged weights; empty where they are base plus adapter."""
    job.say("merging the adapter into its 16-bit base")
    merge(job.base_folder, tuned_folder(job), folder)
    gc.collect()
    return merge_fault(job.base_folder, tuned_folder(job), folder)


def gguf(job: Job, wish: ExportSpec, work: Path) -> tuple[Path, str]:
    folder, file = work / ".merged", work / f"model.{wish.quant}.gguf"
    fault = merged(job, folder)
    job.say(f"converting to GGUF ({wish.quant})")
    to_gguf(folder, file, wish.quant)
    shutil.rmtree(folder)
    return file, fault


def tuned_answers(job: Job) -> Answers:
    """Of the tuned model; an adapter that learned on a base in 4 bits stands on the 16-bit one, where it is merged."""
    job.say("asking the tuned model the test rows")
    if job.spec.train.method == "qlora":
        model = load_adapter(load_base(job.base_folder, job.spec.train.dtype), tuned_folder(job))
    else:
        model = load_tuned(job)
    found = answers_here(job, model)
    gc.collect()
    return found


def tested_again(job: Job, found: dict[str, Any], after: Answers) -> dict[str, Any]:
    """QLoRA: the delivered form against the model in 4 bits that the run's scores are of."""
    if job.spec.train.method != "qlora":
        return found
    job.say("asking the model in 4 bits, as it was trained")
    return found | retest(answers_here(job, load_tuned(job)), after, *how(job), found["reasons"])


def answers_here(job: Job, model: Any) -> Answers:
    """By transformers, with the template of the job's base folder."""
    rows = job.run.rows("test")
    asked = [prompt_of(row) for row in rows]
    tools = [row.get("tools") for row in rows]
    prompts = [job.template.prompt_ids(messages, each) for messages, each in zip(asked, tools, strict=True)]
    replies = ask(job, model, asked, "answers", tools, as_plain=True)
    return Answers(
        prompts, [r.text for r in replies], [not r.cut for r in replies], scored(job, [r.text for r in replies])
    )


def answers_of_llama(job: Job, file: Path) -> Answers:
    """By llama.cpp's chat endpoint, as its users ask it: its own template and stop tokens."""
    rows = job.run.rows("test")
    asked = [(prompt_of(row), row.get("tools")) for row in rows]
    prompts, texts, ended = [], [], []
    with served(file, longest(job) + job.answer_limit + CONTEXT, job.spec.train.threads) as llama:
        for place, (messages, tools) in enumerate(asked):
            prompt, text, whole = told(llama, messages, tools, job.answer_limit)
            prompts.append(prompt)
            texts.append(text)
            ended.append(whole)
            job.guard(place + 1, len(asked), "answers of llama.cpp")
    return Answers(prompts, texts, ended, scored(job, texts))


def longest(job: Job) -> int:
    """Tokens of the longest prompt of the test rows."""
    return max(len(job.template.prompt_ids(prompt_of(row), row.get("tools"))) for row in job.run.rows("test"))


def told(llama: Llama, messages: list[dict[str, Any]], tools: Any, limit: int) -> tuple[list[int], str, bool]:
    """One row. Where the chat endpoint made more of the prompt than its template says, the prompt counts as it was.

    With tools the chat endpoint takes its answer apart, so the prompt that its template wrote is completed as text.
    """
    prompt = llama.prompt_ids(messages, tools)
    if tools:
        return prompt, *llama.complete(prompt, limit)
    text, whole, counted = llama.answer(messages, limit)
    return (prompt if counted == len(prompt) else [*prompt, *[-1] * abs(counted - len(prompt))]), text, whole


def scored(job: Job, outputs: Sequence[str]) -> list[float]:
    return [score_of(job, text, answer(row)) for text, row in zip(outputs, job.run.rows("test"), strict=True)]


def how(job: Job) -> tuple[bool, int | None, list[str] | None]:
    """Whether scores are right or wrong, the token that begins a text, and the rows' sources."""
    begins = job.template.special.get("bos_token")
    bos = job.template.tokenizer.token_to_id(begins) if begins else None
    return job.scorer.binary, bos, sources_of(job.run.rows("test"), job.spec.data.cluster)
