"""The answers of every system to the sealed test rows: set up, asked, scored, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from executor.data.rows import answer
from executor.evaluate.ask import Reply, ask
from executor.evaluate.systems import Variant, chosen, prompt_of, variants
from executor.files import read_json, read_jsonl, write_json, write_jsonl
from executor.job import Job
from executor.prepare_model import in_four_bits
from executor.spec import EndpointSpec, System
from executor.train.model import load_adapter, load_base


class Base:
    """The base model, loaded when it is first needed."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model: Any = None

    def __call__(self) -> Any:
        self.model = self.model or self.job.load_base()
        return self.model


def answer_rows(job: Job, model: Any, system: System) -> None:
    """Ask one system every test row, score the answers and write `evaluation/SYSTEM.jsonl`."""
    way = set_up(job, model, system)
    asked = [way.messages(row) for row in job.run.rows("test")]
    replies = ask(job, model, asked, f"{system} answers", tools_of(job), as_plain=system == "fine_tuned")
    write_answers(job, system, asked, replies)


def answer_rival(job: Job) -> None:
    """The run that the tuned model is held against answers the same rows."""
    name = other_name(job)
    asked = [prompt_of(row) for row in job.run.rows("test")]
    other = load_folder(job, Path(job.spec.evaluate.against or ""))
    write_answers(job, name, asked, ask(job, other, asked, f"{name} answers", tools_of(job), as_plain=True))


def tools_of(job: Job) -> list[Any]:
    """The tools that each test row offers."""
    return [row.get("tools") for row in job.run.rows("test")]


def set_up(job: Job, model: Any, system: System) -> Variant:
    """The way that the validation rows chose, kept in `choices/SYSTEM.json` where there is a choice."""
    ways, file = variants(job, system), job.run.choice(system)

    def measure(rows: Sequence[dict[str, Any]], way: Variant) -> list[float]:
        told = f"{system}: {way.settings.get('way', 'ways')}"
        replies = ask(job, model, [way.messages(row) for row in rows], told, [row.get("tools") for row in rows])
        return [score_of(job, reply.text, answer(row)) for reply, row in zip(replies, rows, strict=True)]

    if ways[0].settings and not file.exists():
        write_json(file, chosen(job, ways, measure))
    settings = read_json(file)["settings"] if file.exists() else {}
    return next((way for way in ways if way.settings == settings), ways[0])


def score_of(job: Job, output: str, expected: str) -> float:
    return float(job.scorer(output, expected)["task_accuracy"])


def choices(job: Job) -> dict[str, Any]:
    """What was chosen on validation rows, by system."""
    files = {system: job.run.choice(system) for system in job.spec.evaluate.systems}
    return {system: read_json(file) for system, file in files.items() if file.exists()}


def ask_endpoint(job: Job, endpoint: EndpointSpec, rows: int | None = None) -> None:
    """A server answers the test rows. `rows`: only so many, kept for the whole; a server that fails is found early."""
    from executor.evaluate.endpoint import Endpoint  # only where a server was named

    asked = [prompt_of(row) for row in job.run.rows("test")][:rows]
    kept = job.run.outputs(endpoint.name).with_suffix(".part")

    def report(done: int) -> None:
        job.guard(done, len(asked), f"{endpoint.name} answers")

    replies = Endpoint(endpoint).answers(asked, job.answer_limit, kept, report, tools_of(job)[:rows])
    if rows is not None:
        return
    write_answers(job, endpoint.name, asked, replies)
    kept.unlink(missing_ok=True)


def write_answers(job: Job, system: str, asked: Sequence[list[dict[str, Any]]], replies: Sequence[Reply]) -> None:
    lines = []
    for prompt, row, reply in zip(asked, job.run.rows("test"), replies, strict=True):
        expected = answer(row)
        scores = job.scorer(reply.text, expected)
        took = {key: value for key, value in vars(reply).items() if key != "text"}
        lines.append({"prompt": prompt, "expected": expected, "output": reply.text, "scores": scores, **took})
    write_jsonl(job.run.outputs(system), lines)


def cost(job: Job, system: str) -> dict[str, Any]:
    """What a thousand calls take: tokens and seconds as measured, USD at the endpoint's price where it has one.

    What a server did not tell for every row is None. `cut` counts the answers that the limit of tokens ended.
    """
    lines = read_jsonl(job.run.outputs(system))
    found: dict[str, Any] = {key: a_thousand(lines, key) for key in ("prompt_tokens", "output_tokens", "seconds")}
    priced = next((each for each in job.spec.evaluate.endpoints if each.name == system), None)
    usd, tokens = None, (found["prompt_tokens"], found["output_tokens"])
    if priced and None not in (priced.usd_in, priced.usd_out, *tokens):
        usd = (tokens[0] * (priced.usd_in or 0) + tokens[1] * (priced.usd_out or 0)) / 1e6
    cut = sum(bool(line.get("cut")) for line in lines)
    return found | {"usd": usd, "source": priced.price_source if priced else None, "cut": cut}


def a_thousand(lines: Sequence[dict[str, Any]], key: str) -> float | None:
    known = [line[key] for line in lines if line.get(key) is not None]
    return 1000 * sum(known) / len(lines) if len(known) == len(lines) else None


def other_name(job: Job) -> str:
    """The run that the tuned model is held against."""
    return Path(job.spec.evaluate.against or "").parent.name


def load_tuned(job: Job) -> Any:
    """The tuned model from disk, as anyone would load it."""
    full = job.spec.train.method == "full"
    return load_folder(job, Path(job.spec.evaluate.adapter or (job.run.model if full else job.run.adapter)))


def load_folder(job: Job, folder: Path) -> Any:
    """An adapter on the base that it names, or a whole model."""
    dtype, config = job.spec.train.dtype, folder / "adapter_config.json"
    if not config.exists():
        return load_base(folder, dtype)
    named = Path(read_json(config)["base_model_name_or_path"])
    if not named.is_dir():  # the cache was moved
        named = in_four_bits(job.base_folder, job.say) if job.spec.train.method == "qlora" else job.base_folder
    return load_adapter(load_base(named, dtype), folder)
