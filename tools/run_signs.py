"""The signs in a run's own record, each one a function: what was seen, in words with its numbers, or None.

Where a sign begins stands in `knowledge/facts/run_signs.yaml`, with its reason and its source.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable
from itertools import pairwise

from executor.data import labels, similar
from executor.data.rows import answer, asked, grouped
from executor.data.structure import plain_text
from executor.data.task import describe
from executor.estimate import shape_of
from knowledge.load import number, run_signs
from tools.planning import rate_row
from tools.run_record import RunRecord, read_object

Limits = dict[str, float]
MARKERS = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[INST\]|<\|(?:user|assistant|system)\|>"
    r"|^### (?:Instruction|Response):",
    re.M,
)
"""what chat templates write around turns"""
WRITTEN = re.compile(r"<\|[a-z_]+\|>|</?[a-z]+_of_turn>|\[/?INST\]|<\|?/?(?:s|sys|user|assistant)\|?>")
"""markers in the text of a template itself"""
NEAR_ROWS = 1_500
"""rows among which near-duplicates are looked for"""
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def labels_masked(run: RunRecord, limits: Limits) -> str | None:
    untrained, rows = run.faults.get("untrained", 0), run.proved_rows
    if run.faults.get("too_long", 0) >= max(untrained, 1):
        return None  # cut away: then the length is the cause
    if rows and run.proof.get("trained_tokens") == 0:
        return f"not one of {run.proof.get('tokens'):,} tokens is trained"
    return f"{untrained} of {rows} rows have no trained token" if rows and untrained / rows >= limits["share"] else None


def replies_cut(run: RunRecord, limits: Limits) -> str | None:
    rows, long = run.proved_rows, max(run.faults.get("too_long", 0), int(run.proof.get("cut_replies") or 0))
    if not rows or long / rows < limits["share"]:
        return None
    words = f"{long} of {rows} rows are longer than max_length {run.proof.get('max_length')}"
    return f"{words} (longest {run.proof.get('longest')} tokens)"


def endless(run: RunRecord, limits: Limits) -> str | None:
    count, rows = run.faults.get("endless", 0), run.proved_rows
    # a reply that is cut has no end either: then the length is the cause
    if not rows or count / rows < limits["share"] or run.faults.get("too_long", 0) >= count:
        return None
    return f"{count} of {rows} replies do not end with an end-of-turn token"


def pad_is_eos(run: RunRecord, limits: Limits) -> str | None:
    config = read_object(run.base / "tokenizer_config.json") if run.base else {}
    pad, eos = (_token(config.get(name)) for name in ("pad_token", "eos_token"))
    share = run.faults.get("endless", 0) / run.proved_rows if run.proved_rows else 0.0
    if not pad or pad != eos or share < limits["share"]:
        return None
    return f"the padding token is the end token ({pad}) and {share:.0%} of the replies train no end"


def runs_on(run: RunRecord, limits: Limits) -> str | None:
    longest = max((len(row["expected"]) for row in run.answers), default=0)
    if len(run.answers) < limits["rows"] or not longest:
        return None
    long = sum(len(row["output"]) > limits["longer"] * longest for row in run.answers)
    if long / len(run.answers) < limits["share"]:
        return None
    return f"{long} of {len(run.answers)} answers are longer than {limits['longer']:g} times the longest expected one"


def template_changed(run: RunRecord, limits: Limits) -> str | None:
    base, adapter = run.template("base"), run.template("adapter")
    return "the adapter's chat template is not that of its base" if base and adapter and base != adapter else None


def template_foreign(run: RunRecord, limits: Limits) -> str | None:
    known = run.base and read_object(run.base / "tokenizer.json")
    if not known or not run.base:
        return None
    template = run.template("base") or str(read_object(run.base / "tokenizer_config.json").get("chat_template") or "")
    vocabulary = {str(token.get("content")) for token in known.get("added_tokens") or [] if isinstance(token, dict)}
    model = known.get("model")
    tokens = model.get("vocab") if isinstance(model, dict) else None
    vocabulary |= set(tokens) if isinstance(tokens, dict) else set()
    strange = sorted({marker for marker in WRITTEN.findall(template) if marker not in vocabulary})
    if len(strange) < limits["least"]:
        return None
    return f"the chat template writes {', '.join(strange[:3])}, which this model's tokenizer does not know as tokens"


def markers_in_rows(run: RunRecord, limits: Limits) -> str | None:
    texts = [" \n".join(plain_text(turn.get("content")) for turn in row["messages"]) for row in run.rows]
    found = [match.group() for text in texts if (match := MARKERS.search(text))]
    if not texts or len(found) / len(texts) < limits["share"]:
        return None
    return f"{len(found)} of {len(texts)} rows hold template markers as text ({found[0]})"


def rate_far_above(run: RunRecord, limits: Limits) -> str | None:
    rate, advised = _rates(run)
    if not rate or rate < limits["times"] * advised:
        return None
    return f"learning rate {rate:g}, {rate / advised:.0f} times the advised {advised:g}"


def rate_far_below(run: RunRecord, limits: Limits) -> str | None:
    rate, advised = _rates(run)
    if not rate or rate > advised / limits["times"]:
        return None
    return f"learning rate {rate:g}, {advised / rate:.0f} times below the advised {advised:g}"


def loss_gone_up(run: RunRecord, limits: Limits) -> str | None:
    above = bool(rate_far_above(run, run_signs()["rate_far_above"].limits))
    for name, words in (("eval_loss", "validation loss"), ("loss", "training loss")):
        values = run.losses(name) if name == "eval_loss" else _thirds(run.losses(name))
        if len(values) < 2 or not all(map(math.isfinite, values)):
            continue
        if name == "eval_loss" and min(values) < limits["fallen"] * values[0]:
            continue  # what memorising does to the validation rows comes after a fall
        # with a rate far above the advised, no fall is as bad as a rise
        if values[-1] > (limits["fallen"] if above else limits["times"]) * values[0]:
            return f"{words} {values[0]:.3g} at first, {values[-1]:.3g} at last"
    return None


def not_finite(run: RunRecord, limits: Limits) -> str | None:
    return _not_finite(run) if run.train.get("dtype") != "float16" else None


def half_precision(run: RunRecord, limits: Limits) -> str | None:
    seen = _not_finite(run) if run.train.get("dtype") == "float16" else None
    return f"{seen} in float16" if seen else None


def loss_flat(run: RunRecord, limits: Limits) -> str | None:
    norms, values = run.losses("grad_norm"), run.losses("eval_loss")
    values = values if len(values) >= 2 else _thirds(run.losses())
    trained = len(run.losses()) >= limits["steps"] and any(norms) and all(map(math.isfinite, values))
    if rate_far_above(run, run_signs()["rate_far_above"].limits):
        return None  # then the rate is not too low
    if not trained or len(values) < 2 or not 0 <= values[0] - values[-1] < limits["fall"] * values[0]:
        return None
    return f"loss {values[0]:.3g} at first, {values[-1]:.3g} at last: hardly a fall"


def no_gradient(run: RunRecord, limits: Limits) -> str | None:
    if run.proof and not run.proof.get("trained_tokens"):
        return None  # without a trained token there is none to come
    norms = run.losses("grad_norm")
    if norms and not any(norms):
        return f"gradient norm 0 in all {len(norms)} steps"
    return "every B of the saved adapter is still zero" if run.adapter_moved is False else None


def memorised(run: RunRecord, limits: Limits) -> str | None:
    evals, losses = run.losses("eval_loss"), _thirds(run.losses())
    if len(evals) < 3 or len(losses) < 2 or not all(map(math.isfinite, evals + losses)):
        return None
    best, rise = min(evals), limits["rise" if run.train.get("select") == "last" else "kept"]
    if evals[-1] < rise * best or losses[-1] > limits["share"] * evals[-1] or best > 0.98 * evals[0]:
        return None
    return f"validation loss {best:.3g} at best, {evals[-1]:.3g} at last, training loss {losses[-1]:.3g}"


def rows_repeated(run: RunRecord, limits: Limits) -> str | None:
    dropped = run.lost.get("duplicates", 0.0)
    if dropped >= limits["share"]:
        return f"{dropped:.0%} of the data's rows were repetitions and were left out"
    texts = [f"{asked(row)}\n{answer(row)}" for row in run.rows[:NEAR_ROWS]]
    if len(texts) < 2:
        return None
    share = 1 - len(set(similar.clusters(texts))) / len(texts)
    return f"{share:.0%} of the training rows repeat others, or nearly" if share >= limits["share"] else None


def answers_conflict(run: RunRecord, limits: Limits) -> str | None:
    dropped, share = run.lost.get("conflicts", 0.0), _conflicting(run)
    if dropped >= limits["share"]:
        return f"{dropped:.0%} of the data's rows asked the same as others and answered otherwise, and were left out"
    return (
        f"{share:.0%} of the training rows ask what others ask and answer otherwise"
        if share >= limits["share"]
        else None
    )


def few_targets(run: RunRecord, limits: Limits) -> str | None:
    lora = run.spec.get("lora")
    named = lora.get("target_modules") if isinstance(lora, dict) else None
    if not isinstance(named, list) or run.train.get("method") == "full":
        return None
    shape = shape_of(run.base) if run.base else None
    h, i, kv = (shape.hidden, shape.intermediate, shape.hidden * shape.key_value_heads / shape.heads) if shape else (
        1.0, 3.0, 0.5,
    )  # fmt: skip
    sizes = dict(zip(PARTS, (h * h, h * kv, h * kv, h * h, h * i, h * i, h * i), strict=True))
    share = sum(size for name, size in sizes.items() if any(str(each).endswith(name) for each in named)) / sum(
        sizes.values()
    )
    if share > limits["share"]:
        return None
    return f"only {', '.join(map(str, named))} adapted, {share:.0%} of the layers' weights"


Sign = Callable[[RunRecord, Limits], str | None]
SIGNS: tuple[Sign, ...] = (
    labels_masked, replies_cut, endless, pad_is_eos, runs_on, template_changed, template_foreign, markers_in_rows,
    rate_far_above, loss_gone_up, not_finite, half_precision, rate_far_below, loss_flat, no_gradient, memorised,
    rows_repeated, answers_conflict, few_targets,
)  # fmt: skip


def seen(run: RunRecord) -> list[tuple[str, float, str]]:
    """(cause, weight, what was seen) of each sign in the run's record."""
    found = []
    for sign in SIGNS:
        row = run_signs()[sign.__name__]
        if words := sign(run, row.limits):
            found.append((row.cause, row.weight, words))
    return found


def looked_at(run: RunRecord) -> list[str]:
    """Which parts of its record a run has."""
    parts = {
        "the spec": run.spec, "the mask's proof": run.proof, "the training rows": run.rows,
        "the losses": run.losses(), "the validation losses": run.losses("eval_loss"),
        "the gradients": run.losses("grad_norm"), "the answers": run.answers, "the base model": run.base,
    }  # fmt: skip
    return [name for name, part in parts.items() if part]


def _rates(run: RunRecord) -> tuple[float | None, float]:
    """(the rate that was set, the one advised for this method and size)."""
    model = run.spec.get("model")
    size = model.get("parameters") if isinstance(model, dict) else None
    small = isinstance(size, int) and size < number("defaults", "small_model_parameters")
    row = rate_row(str(run.train.get("method")), run.train.get("objective") == "dpo", small)
    try:
        rate = float(run.train.get("learning_rate"))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None, number("defaults", row)
    return (rate if rate > 0 and math.isfinite(rate) else None), number("defaults", row)


def _not_finite(run: RunRecord) -> str | None:
    for name, words in (("loss", "loss"), ("grad_norm", "gradient norm"), ("eval_loss", "validation loss")):
        values = run.losses(name)
        at = next((place for place, value in enumerate(values, start=1) if not math.isfinite(value)), None)
        if at:
            return f"a {words} that is no finite number at its entry {at} of {len(values)}"
    return None


def _thirds(values: list[float]) -> list[float]:
    """Medians of three thirds in order: a batch's loss alone says little."""
    if len(values) < 3:
        return values
    cut = [round(place * len(values) / 3) for place in range(4)]
    return [statistics.median(values[start:end]) for start, end in pairwise(cut)]


def _conflicting(run: RunRecord) -> float:
    """Share of rows whose question, near enough, has another answer elsewhere; in free text it may have several."""
    rows = [row for row in run.rows[:NEAR_ROWS] if answer(row)]
    if not rows or describe(rows).kind == "text":
        return 0.0
    groups = grouped(str(cluster) for cluster in similar.clusters([asked(row) for row in rows])).values()
    several = [group for group in groups if len({labels.key(answer(rows[place])) for place in group}) > 1]
    return sum(map(len, several)) / len(rows)


def _token(value: object) -> str:
    return str(value.get("content")) if isinstance(value, dict) else json.dumps(value) if value else ""
