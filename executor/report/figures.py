"""Numbers in words: percent, points, durations, sizes. Every function takes what a file said, and None gives a dash."""

from __future__ import annotations

from typing import Any

from executor.report.folder import number

NONE = "–"
NOT_MEASURED = "not measured"
NAMES = {
    "zero_shot": "zero-shot",
    "prompt": "better prompt",
    "few_shot": "few-shot",
    "rag": "retrieval",
    "fine_tuned": "fine-tuned",
    "fine_tune": "fine-tuning",
    "rag_plus_fine_tune": "retrieval and fine-tuning",
    "task_accuracy": "task accuracy",
    "format_compliance": "format compliance",
    "preference_accuracy": "chosen over rejected",
    "style_match": "style match",
    "macro_f1": "macro-F1",
    "field_f1": "F1 of the fields",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
    "json": "equal JSON",
    "exact": "exact match",
    "normalised": "match but for case and punctuation",
    "contains": "holds the answer",
    "commonest": "the commonest label",
}


def name(key: Any) -> str:
    """A system, metric or approach in words; any other name as it is."""
    return NAMES.get(str(key), str(key))


def title(key: Any) -> str:
    """The same at the beginning of a line."""
    words = name(key)
    return words[:1].upper() + words[1:]


def share(value: Any) -> str:
    """A share 0..1 as percent."""
    known = number(value)
    return NONE if known is None else f"{100 * known:.1f} %"


def points(value: Any) -> str:
    """A signed difference of two shares, in percentage points, without the word."""
    known = number(value)
    if known is None:
        return NONE
    sign = "+" if known > 0 else "−" if known < 0 else "±"
    return f"{sign}{abs(100 * known):.1f}"


def between(low: Any, high: Any, form: Any = share) -> str:
    """An interval, or an empty string where one end is unknown."""
    if number(low) is None or number(high) is None:
        return ""
    return f"{form(low).removesuffix(' %')} to {form(high)}"


def p_value(value: Any) -> str:
    known = number(value)
    if known is None:
        return ""
    return "p < 0.001" if known < 0.001 else f"p = {known:.3f}"


def whole(value: Any) -> str:
    known = number(value)
    return NONE if known is None else f"{known:,.0f}"


def decimal(value: Any) -> str:
    known = number(value)
    return NONE if known is None else f"{known:,.4g}"


def duration(value: Any) -> str:
    """Seconds as s, min or h."""
    known = number(value)
    if known is None:
        return NONE
    if known < 60:
        return f"{known:.1f} s"
    minutes, seconds = divmod(round(known), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(value: Any) -> str:
    """Bytes as KiB, MiB or GiB."""
    known = number(value)
    if known is None:
        return NONE
    for unit in ("bytes", "KiB", "MiB"):
        if abs(known) < 1024:
            return f"{known:.0f} {unit}"
        known /= 1024
    return f"{known:,.2f} GiB"


def dollars(value: Any) -> str:
    known = number(value)
    return NONE if known is None else f"${known:,.2f}"


def plain(value: Any, most: int = 240) -> str:
    """Any value as one short line of text."""
    if value is None:
        return NONE
    if isinstance(value, list | tuple):
        value = ", ".join(plain(item) for item in value) or NONE
    if isinstance(value, dict):
        value = ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return cut(str(value), most)


def cut(text: str, most: int = 240) -> str:
    """At most `most` characters; a cut is shown with the number left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def short(digest: Any) -> str:
    """The first 12 characters of a hash."""
    return str(digest)[:12] if digest else NONE
