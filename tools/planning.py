"""From prepared data to a spec: every training parameter with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.data.documents import read_passages
from executor.data.prepare import Prepared, prepare
from executor.data.rows import answer, trained_conversations
from executor.encode import encode, proof
from executor.errors import UsageError, UserError
from executor.evaluate.metrics import choose as choose_metric
from executor.extras import need
from executor.files import sha256_rows
from executor.hardware import hardware
from executor.model_cache import prepared_folder
from executor.run_folder import RunFolder, create_run
from executor.spec import (
    STAGES,
    Curriculum,
    DataSpec,
    EndpointSpec,
    EvaluateSpec,
    FormSpec,
    LoraSpec,
    Method,
    MetricName,
    ModelSpec,
    Reason,
    RunKind,
    RunSpec,
    Select,
    Stage,
    SweepSpec,
    System,
    TrackerName,
    TrainSpec,
    steps_per_epoch,
)
from executor.template import ChatTemplate
from knowledge.load import fact, number
from tools.base_model import resolve_model
from tools.break_even import told
from tools.citing import cited
from tools.licence import STATED_NOTHING, Rights, licensed
from tools.prediction import method_that_fits, predict, what_fits
from tools.situation import Situation

PROVED = 1000
"""training rows whose mask a plan looks at"""
LEAST_TRIAL = 10
"""optimiser steps of a trial in a sweep at least"""
UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Measure:
    """How answers are to be judged, where the user says so."""

    metric: MetricName | None = None
    form: FormSpec | None = None
    slices: tuple[str, ...] = ()
    cluster: str | None = None
    endpoints: tuple[EndpointSpec, ...] = ()
    judge: EndpointSpec | None = None


@dataclass(frozen=True)
class Wish:
    """What the user asked for; None is "you choose"."""

    data: Path
    test: Path | None = None
    task: str | None = None
    prompt: Path | None = None
    base_model: str | None = None
    budget: str | None = None
    target: float | None = None
    mapping: dict[str, str] | None = None
    seed: int = 0
    method: Method | None = None
    curriculum: Curriculum = "none"
    rates: tuple[float, ...] = ()
    """learning rates to try, at least two, or none"""
    tracker: TrackerName | None = None
    documents: Path | None = None
    """texts that the system rag looks things up in"""
    systems: tuple[System, ...] | None = None
    """None: all that fit, cheapest first, until the question is settled"""
    measure: Measure = Measure()
    drop_overlap: bool = False
    """leave training rows out that the test asks, however many they are"""
    calls: int | None = None
    """a month"""
    harness: tuple[str, ...] = ()
    """tasks of lm-evaluation-harness"""
    curve: bool = False
    """train on parts of the data too: would more of it help?"""
    rights: Rights = STATED_NOTHING


@dataclass(frozen=True)
class Planned:
    prepared: Prepared
    spec: RunSpec
    passages: tuple[dict[str, Any], ...] = ()
    """of the documents"""

    def create(self) -> RunFolder:
        """The run folder, with the rows and passages sealed by their hash."""
        parts = {"train": self.prepared.train, "validation": self.prepared.validation, "test": self.prepared.test}
        record = self.prepared.record()
        if self.passages:
            parts["documents"] = list(self.passages)
            record["splits"]["documents"] = {"rows": len(self.passages), "sha256": sha256_rows(self.passages)}
        return create_run(self.spec, parts, record)


def plan_job(kind: RunKind, wish: Wish, ratios: tuple[float, float, float] = (0.7, 0.1, 0.2)) -> Planned:
    """Check everything that can be checked before anything is written, then choose every parameter."""
    if wish.tracker:
        need(wish.tracker, f"The tracker {wish.tracker}", "--track")
    limit = seconds_of(wish.budget) if wish.budget else None
    prompt = read_prompt(wish.prompt) if wish.prompt else None
    model = resolve_model(wish.base_model)
    passages = tuple(read_passages(wish.documents)) if wish.documents else ()
    data = prepare(
        wish.data, test=wish.test, task=wish.task, mapping=wish.mapping, seed=wish.seed, ratios=ratios,
        columns=wish.measure.slices, group_by=wish.measure.cluster, drop_overlap=wish.drop_overlap,
    )  # fmt: skip
    lora, train, reasons = training(kind, model, data, limit, wish.method)
    train = train.model_copy(update={"curriculum": wish.curriculum})
    predicted = predict(model, data, lora, train)
    if limit and predicted is None:
        fix = "Leave --budget out, or train once: the model's shape is read when it is on this disk."
        raise UserError(f"The time for {model.name} cannot be predicted yet", "--budget", fix)
    if kind != "compare" and predicted and not predicted["fits"]:
        gib = predicted["memory_bytes"]["expected"] / 2**30
        fix = what_fits(model, data, lora, train)
        raise UserError(f"{model.name} needs about {gib:.1f} GiB to train", predicted["device"], fix)
    evaluate = evaluation(kind, wish, data, reasons)
    spec = RunSpec(
        kind=kind,
        stages=with_curve(STAGES[kind]) if wish.curve and kind == "go" else STAGES[kind],
        model=model,
        data=DataSpec(
            path=str(wish.data.absolute()),
            test=str(wish.test.absolute()) if wish.test else None,
            version=data.version,
            mapping=wish.mapping,
            task=wish.task,
            prompt=prompt,
            prompt_file=str(wish.prompt.absolute()) if wish.prompt else None,
            drop_overlap=wish.drop_overlap,
            documents=str(wish.documents.absolute()) if wish.documents else None,
            slices=wish.measure.slices,
            cluster=wish.measure.cluster,
            kind=data.task.kind,
            labels=data.task.labels,
            seed=wish.seed,
        ),
        lora=lora,
        train=train,
        sweep=sweep(wish.rates, train),
        tracker=wish.tracker,
        budget=limit,
        evaluate=evaluate,
        licences=(chain := licensed(model, wish.data, wish.rights)),
        estimate=predicted,
        reasons=reasons,
        cited=cited({each.source for each in reasons.values()} | chain.sources, evaluate),
    )
    return Planned(data, spec, passages)


def with_curve(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The learning curve is measured last, before the report."""
    return (*stages[:-1], "curve", stages[-1])


def sweep(rates: tuple[float, ...], train: TrainSpec) -> SweepSpec | None:
    """Trials of these rates that together take as many steps as the training itself."""
    if not rates:
        return None
    return SweepSpec(learning_rates=rates, steps=max(LEAST_TRIAL, -(-train.steps // len(rates))))


def rates_of(words: str) -> tuple[float, ...]:
    """`lr=1e-4,2e-4,5e-4` as rates, each once, in order. Raises UsageError."""
    name, _, values = words.partition("=")
    try:
        rates = tuple(dict.fromkeys(float(value) for value in values.split(",")))
    except ValueError:
        rates = ()
    if name.strip() not in ("lr", "learning_rate") or not 2 <= len(rates) <= 12 or not all(0 < r < 1 for r in rates):
        fix = "Write two to twelve rates below 1, such as --sweep lr=1e-4,2e-4,5e-4."
        raise UsageError(f'"{words}" is no sweep', "--sweep", fix)
    return rates


def evaluation(kind: RunKind, wish: Wish, data: Prepared, reasons: dict[str, Reason]) -> EvaluateSpec:
    """How the answers are judged, by which systems they are given, and where the thresholds come from."""
    rules = ("min_useful_gain", "prompt_share_of_target", "regression_margin")
    sources = {rule: fact("gates", rule).source[0] for rule in rules}
    metric, why = choose_metric(data.task.kind, [answer(row) for row in data.train])
    if data.pairs:  # what is chosen is better than what is rejected, not right
        metric, why = "chrf", "of the answers one is better, none is the only right one"
    said = "You named it." if wish.measure.metric else f"{why[0].upper()}{why[1:]}."
    reasons["evaluate.metric"] = Reason(reason=said, source="this-run")
    cheap: tuple[System, ...] = ("zero_shot", "prompt", "few_shot")
    looked_up = wish.documents is not None or kind == "compare"
    return EvaluateSpec(
        systems=wish.systems or (*cheap, *(("rag",) if looked_up else ())),
        every_system=wish.systems is not None,
        endpoints=wish.measure.endpoints,
        judge=wish.measure.judge,
        metric=wish.measure.metric or metric,
        form=wish.measure.form,
        target=wish.target,
        shots=min(16, max(8, len(data.task.labels))),
        calls_per_month=wish.calls,
        harness=wish.harness,
        break_even=told(Situation(calls_per_month=wish.calls, examples=len(data.train))) if wish.calls else None,
        min_useful_gain=number("gates", "min_useful_gain"),
        prompt_share_of_target=number("gates", "prompt_share_of_target"),
        regression_margin=number("gates", "regression_margin"),
        sources={**sources, "detectable_difference": "miller-2024", "measured": "this-run", "target": "this-run"},
    )


def training(
    kind: RunKind, model: ModelSpec, data: Prepared, limit: float | None, method: Method | None = None
) -> tuple[LoraSpec, TrainSpec, dict[str, Reason]]:
    """Parameters by model size and number of rows, from the dated defaults; `limit` is the budget in seconds."""
    rows, device = len(data.train), hardware()
    reasons: dict[str, Reason] = {}

    def choose(field: str, row: str) -> Any:
        known = fact("defaults", row)
        plain = known.seed if known.seed not in (None, "auto", str(known.value)) else None
        other = f" The skill that this product implements has {plain}." if plain else ""
        reasons[field] = Reason(reason=f"{known.reason or known.text}{other}", source=known.source[0])
        return known.value

    chosen: Method = method or choose("train.method", "method")
    if method:
        reasons["train.method"] = Reason(reason="You named it.")
    small = (model.parameters or 10**12) < number("defaults", "small_model_parameters")
    steps_by_rows = [("epochs", 500), ("epochs_to_2000", 2000), ("epochs_above", 10**12)]
    epochs = choose("train.epochs", next(row for row, most in steps_by_rows if rows <= most))
    batch = choose("train.batch_size", "batch_size_small" if rows < 1000 else "batch_size")
    replay = choose("train.replay", "replay") if kind == "go" and not data.pairs else 0
    lora = LoraSpec(
        r=choose("lora.r", "r"),
        alpha=choose("lora.alpha", "alpha"),
        dropout=choose("lora.dropout", "dropout"),
        target_modules=choose("lora.target_modules", "target_modules"),
    )
    objective: dict[str, Any] = {}
    if data.pairs:
        objective["objective"] = choose("train.objective", "objective_pairs")
        objective["beta"] = choose("train.beta", "trl.dpo.beta")
    select, watched = watching(data, reasons)
    train = TrainSpec(
        select=select,
        watched_rows=watched,
        patience=choose("train.patience", "patience") if select != "last" else 0,
        method=chosen,
        **objective,
        learning_rate=choose("train.learning_rate", rate_row(chosen, data.pairs, small)),
        epochs=epochs,
        steps=epochs * steps_per_epoch(rows, replay, batch),
        batch_size=batch,
        replay=replay,
        warmup_share=choose("train.warmup_share", "warmup_ratio"),
        weight_decay=choose("train.weight_decay", "weight_decay"),
        max_grad_norm=choose("train.max_grad_norm", "max_grad_norm"),
        threads=device.cores,
        dtype="bfloat16" if device.bfloat16 else "float32",
    )
    if method is None:
        train = method_that_fits(model, data, lora, train, reasons)
    predicted = predict(model, data, lora, train) if limit else None
    if limit and predicted and predicted["seconds"]["expected"] > limit:
        share = limit / predicted["seconds"]["expected"]
        steps = max(1, int(train.steps * share))
        train = train.model_copy(update={"steps": steps, "epochs": round(epochs * share, 2)})
        reasons["train.epochs"] = Reason(reason=f"cut to {share:.0%} of the default by the budget of {limit:.0f} s")
    return lora, train, reasons


def rate_row(method: str, pairs: bool, small: bool) -> str:
    """Which of the defaults is the learning rate's; `small`: under a billion parameters."""
    if pairs:
        return "learning_rate_dpo_full" if method == "full" else "learning_rate_dpo"
    return "learning_rate_full" if method == "full" else "learning_rate_small" if small else "learning_rate"


def watching(data: Prepared, reasons: dict[str, Reason]) -> tuple[Select, int]:
    """(what the kept state is chosen by, validation rows whose answers are scored).

    Short answers are scored as the test will score them, where there are rows enough to tell; free text is judged by
    its loss, for writing it at every validation takes longer than training.
    """
    rows = len(data.validation)
    if data.task.kind == "text" or rows < number("defaults", "watched_rows_least"):
        known = fact("defaults", "select_loss" if rows else "select_last")
        select: Select = "eval_loss" if rows else "last"
        watched = 0
    else:
        known, select = fact("defaults", "select_metric"), "task_metric"
        watched = int(number("defaults", "watched_rows"))
    reasons["train.select"] = Reason(reason=known.reason or known.text, source=known.source[0])
    return select, watched


def mask_of(planned: Planned) -> dict[str, Any] | None:
    """What the loss would see of the training rows; None where the model's tokenizer is not on this disk yet."""
    folder = prepared_folder(planned.spec.model)
    if not (folder / "tokenizer.json").exists():
        return None
    template = ChatTemplate(folder)
    train = planned.spec.train
    examples = [
        encode(row, template) for row in trained_conversations(planned.prepared.train[:PROVED], train.objective)
    ]
    return proof(examples, template, train.max_length)


def seconds_of(budget: str) -> float:
    """`90s`, `10m` or `2h` in seconds. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", budget.strip().lower())
    if not match or float(match[1]) <= 0:
        raise UsageError(f'"{budget}" is not a duration', "--budget", "Write it as 90s, 10m or 2h.")
    return float(match[1]) * UNITS[match[2]]


def read_prompt(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the prompt: {error}", str(path), "Name a UTF-8 text file.") from error
    if not text:
        raise UserError("The prompt file is empty", str(path), "Write the system prompt into it.")
    return text
