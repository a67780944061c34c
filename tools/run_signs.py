"""The signs in a run's own record, each one a function: what was seen, in words with its numbers, or None.

Where a sign begins stands in `knowledge/facts/run_signs.yaml`, with its reason and its source.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable
from itertools import pairwise

from executor.data import labels, similar
from executor.data.rows import answer, asked, grouped, system
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
OPENINGS = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>")
"""tokens that begin a turn: a model that has one was taught with it"""
PADS = {"<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>"}
NEAR_ROWS = 1_500
"""rows among which near-duplicates are looked for"""
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def labels_masked(run: RunRecord, limits: Limits) -> str | None:
    untrained, rows = run.faults.get("untrained", 0), run.proved("rows")
    if run.faults.get("too_long", 0) >= max(untrained, 1):
        return None  # cut away: then the length is the cause
    if rows and run.proof.get("trained_tokens") == 0:
        return f"not one of {run.proved('tokens'):,} tokens is trained"
    if rows and untrained / rows >= limits["share"]:
        return f"{untrained} of {rows} rows have no trained token"
    losses = run.losses()
    return "loss 0 from the first step" if len(losses) >= limits["steps"] and not any(losses) else None


def replies_cut(run: RunRecord, limits: Limits) -> str | None:
    rows, long = run.proved("rows"), max(run.faults.get("too_long", 0), run.proved("cut_replies"))
    if not rows:
        return _surely_longer(run, limits)
    if long / rows < limits["share"]:
        return None
    words = f"{long} of {rows} rows are longer than max_length {run.proved('max_length')}"
    return f"{words} (longest {run.proved('longest')} tokens)"


def _surely_longer(run: RunRecord, limits: Limits) -> str | None:
    """Without a count of tokens: rows that would be too long even if a token had so many characters."""
    most = run.train.get("max_length")
    if not isinstance(most, int) or not run.rows:
        return None
    texts = ["".join(plain_text(turn.get("content")) for turn in row["messages"]) for row in run.rows]
    long = sum(len(text) > limits["characters"] * most for text in texts)
    if long / len(texts) < limits["share"]:
        return None
    return f"{long} of {len(texts)} rows are longer than max_length {most}"


def endless(run: RunRecord, limits: Limits) -> str | None:
    count, rows = run.faults.get("endless", 0), run.proved("rows")
    # a reply that is cut has no end either, nor has one in another model's template: then these are the cause
    if not rows or count / rows < limits["share"] or run.faults.get("too_long", 0) >= count:
        return None
    if template_foreign(run, {}):  # here and below: what such a template explains is no cause of its own
        return None
    return f"{count} of {rows} replies do not end with an end-of-turn token"


def pad_is_eos(run: RunRecord, limits: Limits) -> str | None:
    pad, rows = _pad_that_ends(run), run.proved("rows")
    share = run.faults.get("endless", 0) / rows if rows else 0.0
    if not pad or share < limits["share"] or template_foreign(run, {}):
        return None
    return f"the padding token is the end token ({pad}) and {share:.0%} of the replies train no end"


def pad_made_eos(run: RunRecord, limits: Limits) -> str | None:
    pad = _pad_that_ends(run)
    config = read_object(run.base / "config.json") if run.base else {}
    unused = sorted(run.tokens & PADS - {pad})
    known, end = config.get("pad_token_id"), config.get("eos_token_id")
    other = isinstance(known, int) and known != end and not (isinstance(end, list) and known in end)
    if not pad or not (unused or other):
        return None
    own = unused[0] if unused else f"of id {known}"
    return f"the padding token is the end token ({pad}), although the model has one of its own ({own})"


def _pad_that_ends(run: RunRecord) -> str | None:
    """The padding token where it is the end token too."""
    config = read_object(run.base / "tokenizer_config.json") if run.base else {}
    config = config or read_object(run.folder / "adapter" / "tokenizer_config.json")
    pad, eos = (
        str(value.get("content") if isinstance(value, dict) else value or "")
        for value in (config.get("pad_token"), config.get("eos_token"))
    )
    return pad if pad and pad == eos else None


def runs_on(run: RunRecord, limits: Limits) -> str | None:
    longest = max((len(row["expected"]) for row in run.answers), default=0)
    if len(run.answers) < limits["rows"] or not longest or template_foreign(run, {}):
        return None
    long = sum(len(row["output"]) > limits["longer"] * longest for row in run.answers)
    if long / len(run.answers) < limits["share"]:
        return None
    return f"{long} of {len(run.answers)} answers are longer than {limits['longer']:g} times the longest expected one"


def template_changed(run: RunRecord, limits: Limits) -> str | None:
    base, adapter = run.template("base"), run.template("adapter")
    return "the adapter's chat template is not that of its base" if base and adapter and base != adapter else None


def template_foreign(run: RunRecord, limits: Limits) -> str | None:
    template, known = run.template("base"), [marker for marker in OPENINGS if marker in run.tokens]
    if not template or not run.tokens:
        return None
    # where a model has no such markers, [INST] and the like may be plain text to it, as they are to Llama 2
    written = WRITTEN.findall(template) if known else [marker for marker in OPENINGS if marker in template]
    strange = sorted({marker for marker in written if marker not in run.tokens})
    if strange:
        return (
            f"the chat template writes {', '.join(strange[:3])}, which this model's tokenizer does not know as tokens"
        )
    if known and not any(marker in template for marker in known):
        return f"the model's tokenizer has {known[0]} for its turns, the chat template does not write it"
    return None


def markers_in_rows(run: RunRecord, limits: Limits) -> str | None:
    texts = ["\n".join(plain_text(turn.get("content")) for turn in row["messages"]) for row in run.rows]
    found = [match.group() for text in texts if (match := MARKERS.search(text))]
    if not texts or len(found) / len(texts) < limits["share"]:
        return None
    return f"{len(found)} of {len(texts)} rows hold template markers as text ({found[0]})"


def rate_far_above(run: RunRecord, limits: Limits) -> str | None:
    times = _above_advised(run)
    return f"learning rate {run.rate:g}, {times:.0f} times the advised" if times >= limits["times"] else None


def rate_far_below(run: RunRecord, limits: Limits) -> str | None:
    times = _above_advised(run)
    if not times or times * limits["times"] > 1:
        return None
    return f"learning rate {run.rate:g}, {1 / times:.0f} times below the advised"


def loss_gone_up(run: RunRecord, limits: Limits) -> str | None:
    above, trained = _above_advised(run) >= limits["above"], _thirds(run.losses())
    learnt = len(trained) > 1 and trained[-1] < limits["learnt"] * trained[0]
    for name, words in (("eval_loss", "validation loss"), ("loss", "training loss")):
        values = run.losses(name) if name == "eval_loss" else trained
        if len(values) < 2 or not all(map(math.isfinite, values)):
            continue
        if name == "eval_loss" and not above and (learnt or min(values) < limits["fallen"] * values[0]):
            continue  # what memorising does to the validation rows comes after a fall
        # with a rate far above the advised, no fall is as bad as a rise
        if values[-1] > (limits["fallen"] if above else limits["times"]) * values[0]:
            return f"{words} {values[0]:.3g} at first, {values[-1]:.3g} at last"
    return None


def not_finite(run: RunRecord, limits: Limits) -> str | None:
    return None if run.half else _not_finite(run)


def half_precision(run: RunRecord, limits: Limits) -> str | None:
    seen = _not_finite(run) if run.half else None
    return f"{seen} in float16" if seen else None


def loss_flat(run: RunRecord, limits: Limits) -> str | None:
    norms, values, times = run.losses("grad_norm"), run.losses("eval_loss"), _above_advised(run)
    values = values if len(values) >= 2 else _thirds(run.losses())
    if len(values) < 2 or len(run.losses()) < limits["steps"] or not all(map(math.isfinite, values)):
        return None
    if times >= limits["above"] or (norms and max(norms) < limits["norm"]):
        return None  # then the rate is not too low
    fall = limits["fall_below" if 0 < times < limits["below"] else "fall"]
    if not 0 <= values[0] - values[-1] < fall * values[0]:
        return None
    return f"loss {values[0]:.3g} at first, {values[-1]:.3g} at last: hardly a fall"


def no_gradient(run: RunRecord, limits: Limits) -> str | None:
    losses = run.losses()
    if (run.proof and not run.proved("trained_tokens")) or (losses and not any(losses)):
        return None  # without a trained token there is none to come
    norms = run.losses("grad_norm")
    if norms and max(norms) < limits["norm"]:
        return f"gradient norm 0 in all {len(norms)} steps"
    return "every B of the saved adapter is still zero" if run.adapter_moved is False else None


def memorised(run: RunRecord, limits: Limits) -> str | None:
    evals, losses = run.losses("eval_loss"), _thirds(run.losses())
    if len(evals) < 2 or len(losses) < 2 or not all(map(math.isfinite, evals + losses)):
        return None
    best, far = min(evals), losses[-1] <= limits["far"] * evals[-1]
    rise = limits["rise" if run.train.get("select", "last") == "last" else "kept_far" if far else "kept"]
    if evals[-1] < rise * best or losses[-1] > limits["share"] * evals[-1] or losses[-1] >= losses[0]:
        return None
    return f"validation loss {best:.3g} at best, {evals[-1]:.3g} at last, training loss {losses[-1]:.3g}"


def rows_repeated(run: RunRecord, limits: Limits) -> str | None:
    dropped = run.lost.get("duplicates", 0.0)
    if dropped >= limits["dropped"]:
        return f"{dropped:.0%} of the data's rows were repetitions and were left out"
    texts = [f"{system(row)}\n{asked(row)}\n{answer(row)}" for row in run.rows[:NEAR_ROWS]]
    if len(texts) < 2:
        return None
    share = 1 - len(set(similar.clusters(texts))) / len(texts)
    return f"{share:.0%} of the training rows repeat others, or nearly" if share >= limits["share"] else None


def answers_conflict(run: RunRecord, limits: Limits) -> str | None:
    dropped = run.lost.get("conflicts", 0.0)
    if dropped >= limits["dropped"]:
        return f"{dropped:.0%} of the data's rows asked the same as others and answered otherwise, and were left out"
    rows = [row for row in run.rows[:NEAR_ROWS] if answer(row)]
    if not rows or describe(rows).kind == "text":
        return None  # free text may answer a question in several ways
    questions = [asked(row) for row in rows]
    for keys, words, least in (
        ([similar.normalised(text) for text in questions], "the same", limits["same"]),
        (list(map(str, similar.clusters(questions))), "nearly the same", limits["near"]),
    ):
        groups = grouped(f"{system(row)}\n{key}" for row, key in zip(rows, keys, strict=True)).values()
        several = [group for group in groups if len({labels.key(answer(rows[place])) for place in group}) > 1]
        share = sum(map(len, several)) / len(rows)
        if share >= least:
            return f"{share:.0%} of the training rows ask {words} as others and answer otherwise"
    return None


def few_targets(run: RunRecord, limits: Limits) -> str | None:
    return _adapted(run, 0.0, limits["share"])


def attention_only(run: RunRecord, limits: Limits) -> str | None:
    return _adapted(run, limits["from"], limits["share"])


def _adapted(run: RunRecord, least: float, most: float) -> str | None:
    """What is adapted, where its share of a Llama-like block's weights lies between these."""
    lora = run.spec.get("lora")
    found = lora.get("target_modules") if isinstance(lora, dict) else None
    named = [found] if isinstance(found, str) and found != "all-linear" else found
    if not isinstance(named, list) or run.train.get("method") == "full" or (run.layers and not run.layers & set(PARTS)):
        return None
    if not run.layers and not any(str(each).endswith(PARTS) for each in named):
        return None  # another architecture's names, perhaps
    shape = shape_of(run.base) if run.base else None
    h, i, kv = (shape.hidden, shape.intermediate, shape.hidden * shape.key_value_heads / shape.heads) if shape else (
        1.0, 3.0, 0.5,
    )  # fmt: skip
    sizes = dict(zip(PARTS, (h * h, h * kv, h * kv, h * h, h * i, h * i, h * i), strict=True))
    adapted = sum(size for name, size in sizes.items() if any(str(each).endswith(name) for each in named))
    share = adapted / sum(sizes.values())
    if not least <= share <= most:
        return None
    return f"only {', '.join(map(str, named))} adapted, {share:.0%} of the layers' weights"


Sign = Callable[[RunRecord, Limits], str | None]
SIGNS: tuple[Sign, ...] = (
    labels_masked, replies_cut, endless, pad_is_eos, pad_made_eos, runs_on, template_changed, template_foreign,
    markers_in_rows, rate_far_above, loss_gone_up, not_finite, half_precision, rate_far_below, loss_flat, no_gradient,
    memorised, rows_repeated, answers_conflict, few_targets, attention_only,
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


def _above_advised(run: RunRecord) -> float:
    """How many times the advised rate for this method and size was set; 0 where no rate is known."""
    model = run.spec.get("model")
    size = model.get("parameters") if isinstance(model, dict) else None
    small = isinstance(size, int) and size < number("defaults", "small_model_parameters")
    row = rate_row(str(run.train.get("method")), run.train.get("objective") == "dpo", small)
    return (run.rate or 0.0) / number("defaults", row)


def _not_finite(run: RunRecord) -> str | None:
    for name, words in (("loss", "loss"), ("grad_norm", "gradient norm"), ("eval_loss", "validation loss")):
        values = run.losses(name)
        at = next((place for place, value in enumerate(values, start=1) if not math.isfinite(value)), None)
        if at:
            return f"a {words} that is no finite number, entry {at} of {len(values)}"
    return None


def _thirds(values: list[float]) -> list[float]:
    """Medians of three thirds in order: a batch's loss alone says little."""
    if len(values) < 3:
        return values
    cut = [round(place * len(values) / 3) for place in range(4)]
    return [statistics.median(values[start:end]) for start, end in pairwise(cut)]
