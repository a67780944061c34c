"""Which base model: the catalogue ranked for a task, a memory and a licence, with the memory arithmetic shown."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel

from knowledge.load import fact, facts, models, number, references
from knowledge.rows import BaseModelRow
from tools.base import Args, Result, Tool, UsageError

MOST = 8
GB = 1_000_000_000

SMALL_TASKS = frozenset({"classification", "extraction", "style"})
"""For these, a small model is preferred over the largest that fits."""

SMALL_B, LARGE_B = 4.0, 9.0
"""The size in billions that is preferred for small tasks, and for the others."""

_TASKS = (
    ("classification", r"classif|categor|label|intent|sentiment|routing|triage|spam|moderat|tagging|分类"),
    ("extraction", r"extract|\bner\b|entit|parse|invoice|receipt|structured|json|抽取"),
    ("style", r"style|tone|voice|rewrit|persona|brand|summar|email|风格"),
    ("code", r"\bcode|sql|program|script|\bapi\b|代码"),
    ("reasoning", r"reason|math|logic|proof|medical|legal|analysis|推理"),
    ("tools", r"tool|function call|agent"),
    ("vision", r"image|vision|photo|picture|screenshot|multimodal|document scan|图像"),
    ("multilingual", r"translat|multilingual|german|french|spanish|chinese|japanese|arabic|hindi|korean|翻译|中文"),
    ("edge", r"edge|mobile|phone|on-device|raspberry|browser|embedded"),
    ("chat", r"chat|assistant|support|dialog|conversation|question|customer|客服|对话"),
    ("trial", r"trial|try out|demo|test run|laptop|cpu"),
)
_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(tib|tb|gib|gb|g|mib|mb|m)?\s*", re.I)
_UNIT = {"tb": 1e12, "tib": 2.0**40, "gb": 1e9, "g": 1e9, "gib": 2.0**30, "mb": 1e6, "m": 1e6, "mib": 2.0**20}


class RecommendArgs(Args):
    task: str = ""
    """what the model is for, in words"""
    memory: str | None = None
    """memory of the GPU, for instance 24GB"""
    licence: Literal["permissive"] | None = None
    """permissive: only models under a licence like Apache-2.0 or MIT"""
    context: int | None = None
    """tokens that a prompt with its answer may need; models known to hold less are left out"""


_SAID_MEMORY = re.compile(r"\b(\d+)\s*(gb|gib|g)\b(?! (of )?(data|text|corpus|file))", re.I)
_SAID_LICENCE = re.compile(r"\b(commercial\w*|permissive|apache|mit licen[cs]e|open[- ]source licen[cs]e)\b", re.I)
_SAID_CONTEXT = re.compile(r"\b(\d+)\s*(k)?[- ]*(tokens?|context)\b", re.I)


class ModelChoice(BaseModel):
    name: str
    hub_id: str
    licence: str | None
    context: int | None
    parameters: int | None
    """exact count, where it was read"""
    size_b: float | None
    method: Literal["lora", "qlora"] | None
    """the method that fits the memory; None: neither does, or no memory was given"""
    lora_bytes: int | None
    """None where the size is not known"""
    qlora_bytes: int | None
    """None where 4-bit training is not advised for the model, or the size is not known"""
    arithmetic: str
    gated: bool | None
    verified: bool
    reason: str
    source: list[str]


class RecommendResult(Result):
    models: list[ModelChoice]
    """best first"""
    sources: list[dict[str, str | None]]

    def text(self) -> str:
        if not self.models:
            return "No model of the catalogue fits that memory and licence. Give more memory, or allow other licences."
        first = self.models[0]
        lines = [f"**{first.name}**: {first.reason} [{', '.join(first.source)}]", f"Memory: {first.arithmetic}."]
        lines.append(f"Terms: {_terms(first)}.")
        lines += [f"- {each.name}: {each.reason} {_short(each)}" for each in self.models[1:4]]
        return "\n".join([*lines, "", f'Next: `finetune plan DATA --base-model "{first.name}"`.'])


def recommend(args: RecommendArgs) -> RecommendResult:
    """Rank the catalogue. Raises UsageError for a memory that is no size."""
    args = heard(args)
    memory = parse_memory(args.memory) if args.memory else None
    wanted = {tag for tag, pattern in _TASKS if re.search(pattern, args.task, re.I)}
    rows = [row for row in models() if args.licence is None or row.permissive]
    rows = [row for row in rows if args.context is None or row.context is None or row.context >= args.context]
    pairs = [(row, _choice(row, memory, wanted)) for row in rows]
    fitting = [pair for pair in pairs if memory is None or pair[1].method]
    fitting.sort(key=lambda pair: -_rank(pair[0], pair[1], wanted))
    best = [choice for _, choice in fitting[:MOST]]
    return RecommendResult(models=best, sources=references(each for choice in best for each in choice.source))


def heard(args: RecommendArgs) -> RecommendArgs:
    """The arguments with memory, licence and context taken from the words of the task where they are not given."""
    found: dict[str, object] = {}
    if args.memory is None and (memory := _said_memory(args.task)):
        found["memory"] = memory
    if args.licence is None and _SAID_LICENCE.search(args.task):
        found["licence"] = "permissive"
    if args.context is None and (context := _SAID_CONTEXT.search(args.task)):
        found["context"] = int(context.group(1)) * (1024 if context.group(2) else 1)
    return args.model_copy(update=found)


def _said_memory(words: str) -> str | None:
    """`24 GB`, or the memory of a GPU of `facts/gpus.yaml` that is named, with or without its series."""
    if said := _SAID_MEMORY.search(words):
        return f"{said.group(1)}GB"
    for row in facts("gpus"):
        name, _, what = row.id.partition(".")
        if what == "memory_gb" and re.search(rf"\b(rtx ?)?{name.removeprefix('RTX')}\b", words, re.I):
            return f"{row.value}GB"
    return None


def resolve_catalogue(name: str) -> BaseModelRow | None:
    """The row with this name or hub id, whatever the case; None where the catalogue has none."""
    wanted = name.strip().lower()
    return next((row for row in models() if wanted in (row.name.lower(), row.hub_id.lower())), None)


def parse_memory(text: str) -> float:
    """Bytes of `24GB`, `24 GiB`, `16000MB` or `24` (gigabytes)."""
    found = _MEMORY.fullmatch(text)
    if not found:
        raise UsageError(f"Not a memory size: {text}", "--memory", "Write it like 24GB.")
    return float(found.group(1)) * _UNIT[(found.group(2) or "gb").lower()]


def lora_parameters(row: BaseModelRow, rank: int) -> float | None:
    """Σ r·(d_in + d_out) over all linear layers of a Llama-shaped model; a share of the size without a shape."""
    if row.layers and row.hidden and row.intermediate and row.heads and row.key_value_heads:
        narrow = row.hidden // row.heads * row.key_value_heads
        attention = 2 * (row.hidden + row.hidden) + 2 * (row.hidden + narrow)
        return rank * row.layers * (attention + 3 * (row.hidden + row.intermediate))
    size = _parameters(row)
    return None if size is None else size * number("defaults", "memory.adapter_share")


def training_bytes(row: BaseModelRow, method: Literal["lora", "qlora"]) -> float | None:
    """(bytes per weight × N + 16 × A) × 1.2 + 1 GB, with short rows and gradient checkpointing; None without a size."""
    size, adapter = _parameters(row), lora_parameters(row, int(number("defaults", "r")))
    if size is None or adapter is None:
        return None
    held = size * number("defaults", f"memory.{method}_bytes") + adapter * number("defaults", "memory.adapter_bytes")
    return held * number("defaults", "memory.overhead") + number("defaults", "memory.constant_gb") * GB


def _parameters(row: BaseModelRow) -> float | None:
    return row.parameters or (None if row.size_b is None else row.size_b * 1e9)


def _choice(row: BaseModelRow, memory: float | None, wanted: set[str]) -> ModelChoice:
    lora = training_bytes(row, "lora")
    qlora = None if row.qlora_advised is False else training_bytes(row, "qlora")
    method: Literal["lora", "qlora"] | None = None
    if memory is not None:
        method = "lora" if lora and lora <= memory else "qlora" if qlora and qlora <= memory else None
    return ModelChoice(
        name=row.name, hub_id=row.hub_id, licence=row.licence, context=row.context, parameters=row.parameters,
        size_b=row.size_b, method=method, lora_bytes=_whole(lora), qlora_bytes=_whole(qlora),
        arithmetic=_arithmetic(row, lora, qlora), gated=row.gated, verified=row.verified,
        reason=_reason(row, method, wanted), source=[*row.source, *fact("defaults", "memory.overhead").source],
    )  # fmt: skip


def _whole(size: float | None) -> int | None:
    return None if size is None else int(size)


def _arithmetic(row: BaseModelRow, lora: float | None, qlora: float | None) -> str:
    size, adapter = _parameters(row), lora_parameters(row, int(number("defaults", "r")))
    if lora is None or size is None or adapter is None:
        return "the number of parameters is not known"
    parts = [f"LoRA (2 bytes × {size / 1e9:.3g}B + 16 × {adapter / 1e6:.3g}M) × 1.2 + 1 GB = {lora / GB:.1f} GB"]
    if qlora is not None:
        parts.append(f"QLoRA with 0.52 bytes = {qlora / GB:.1f} GB")
    if row.lora_gb is not None:
        known = f"{row.qlora_gb:g} and " if row.qlora_gb is not None else ""
        parts.append(f"published minimum {known}{row.lora_gb:g} GB")
    return "; ".join(parts)


def _reason(row: BaseModelRow, method: str | None, wanted: set[str]) -> str:
    fits = {"lora": "fits with 16-bit LoRA", "qlora": "fits with 4-bit QLoRA"}.get(method or "")
    meets = sorted(wanted & set(row.use))
    parts = [row.note.rstrip(".")]
    if meets:
        parts.append(f"suits {', '.join(meets)}")
    if fits:
        parts.append(fits)
    return "; ".join(parts) + "."


def _rank(row: BaseModelRow, choice: ModelChoice, wanted: set[str]) -> float:
    """Match with the task first, then freshness, a size near the preferred one, and LoRA before QLoRA."""
    match = 2.0 * len(wanted & set(row.use)) / max(1, len(wanted)) if wanted else 0.0
    preferred = SMALL_B if not wanted or wanted & SMALL_TASKS else LARGE_B
    distance = 1.0 if row.size_b is None else abs(row.size_b - preferred) / preferred
    fresh = 0.4 * (row.year - 2024)
    method = {"lora": 0.5, "qlora": 0.2}.get(choice.method or "", 0.0)
    return match + fresh + method - 0.6 * min(distance, 2.0) - (0.5 if row.permissive is None else 0.0)


def _terms(choice: ModelChoice) -> str:
    licence = choice.licence or "licence not known, read its card"
    context = f"{choice.context:,} tokens of context" if choice.context else "context not known"
    gate = {True: "gated: accept its terms on the hub first", False: "not gated"}.get(choice.gated or False)
    return ", ".join([licence, context, gate if choice.gated is not None and gate else "gating not known"])


def _short(choice: ModelChoice) -> str:
    sizes = (("LoRA", choice.lora_bytes), ("QLoRA", choice.qlora_bytes))
    known = ", ".join(f"{name} {size / GB:.1f} GB" for name, size in sizes if size is not None)
    context = f"; {choice.context // 1024}k context" if choice.context else ""
    return f"({known or 'memory not known'}{context}; {choice.licence or 'licence?'}) [{', '.join(choice.source)}]"


RECOMMEND_MODELS = Tool(
    name="recommend_models",
    reads_only=True,
    description=(
        "Base models to fine-tune, ranked for a task, a GPU memory and a licence, with the memory arithmetic. "
        "Call it for any question of which model to take."
    ),
    args=RecommendArgs,
    result=RecommendResult,
    run=recommend,
    command='finetune models --task "{task}"',
)
