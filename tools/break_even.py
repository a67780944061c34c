"""After how many calls a tune has paid for itself, against list prices; and what the volume makes of that in months."""

from __future__ import annotations

from pydantic import BaseModel

from knowledge.load import fact, number
from knowledge.rows import Fact
from tools.situation import Situation

RIVALS = ("gpt-6-astra", "gpt-6-sol", "gpt-6-luna")
"""Prompted models to compare with: the dearest, the standard and the cheapest of one provider's list."""

STANDARD = "gpt-6-sol"
TUNED = "tinker.qwen3-8b"
"""The small tuned model that the arithmetic takes, billed by the token."""

KINDS = ("input", "cached", "output")


class BreakEven(BaseModel):
    """N* = (training + labour) / (cost of a call now − cost of a call tuned); without hosting, which comes on top."""

    against: str
    calls_low: int | None
    """nothing of the prompt cached; None: never"""
    calls_high: int | None
    """most of the repeated prompt cached; None: never"""
    months_low: float | None
    months_high: float | None
    text: str
    sources: list[str]


def break_even(now: Situation) -> list[BreakEven]:
    """Against each rival; empty where the number of calls is not known."""
    return [_against(rival, now, now.calls_per_month) for rival in RIVALS] if now.calls_per_month else []


def pays(now: Situation) -> bool:
    """Whether the volume pays a tune back against the standard rival within `gates.break_even_months`, uncached."""
    found = next((each for each in break_even(now) if each.against == STANDARD), None)
    months = found.months_low if found else None
    return months is not None and months <= number("gates", "break_even_months")


def spent(now: Situation) -> float:
    """USD for labour and three passes over the rows."""
    rows = now.examples or number("gates", "assumed.rows")
    tokens = rows * number("gates", "assumed.row_tokens") * 3
    return number("gates", "assumed.labour_usd") + tokens / 1e6 * number("prices", f"{TUNED}.train")


def call_usd(rival: str, prompt_tokens: float, cached_share: float) -> float:
    """One call to a prompted model."""
    price = {kind: number("prices", f"openai.{rival}.{kind}") for kind in KINDS}
    request, answer = number("gates", "assumed.request_tokens"), number("gates", "assumed.answer_tokens")
    prompt = prompt_tokens * (cached_share * price["cached"] + (1 - cached_share) * price["input"])
    return (prompt + request * price["input"] + answer * price["output"]) / 1e6


def tuned_call_usd() -> float:
    """One call to the tuned small model with its shorter prompt."""
    prompt = number("gates", "assumed.tuned_prompt_tokens") + number("gates", "assumed.request_tokens")
    answer = number("gates", "assumed.answer_tokens")
    return (prompt * number("prices", f"{TUNED}.prefill") + answer * number("prices", f"{TUNED}.sample")) / 1e6


def _against(rival: str, now: Situation, calls: int) -> BreakEven:
    prompt = now.prompt_tokens or number("gates", "assumed.prompt_tokens")
    rate = now.cache_hit_rate
    shares = (0.0, number("gates", "assumed.cached_share")) if rate is None else (rate, rate)
    low, high = (_calls(rival, now, prompt, share) for share in shares)
    prices = [fact("prices", f"openai.{rival}.{kind}") for kind in KINDS]
    prices += [fact("prices", f"{TUNED}.{kind}") for kind in ("train", "prefill", "sample")]
    return BreakEven(
        against=rival,
        calls_low=low,
        calls_high=high,
        months_low=low / calls if low is not None else None,
        months_high=high / calls if high is not None else None,
        text=_told(rival, low, high, calls),
        sources=list(dict.fromkeys(["house-judgement", *(each for price in prices for each in price.source)])),
    )


def _calls(rival: str, now: Situation, prompt: float, cached_share: float) -> int | None:
    saved = call_usd(rival, prompt, cached_share) - tuned_call_usd()
    return round(spent(now) / saved) if saved > 0 else None


def _told(rival: str, low: int | None, high: int | None, calls: int) -> str:
    if low is None:
        return f"never against {rival}, whose call is already cheaper"
    uncached = f"{_short(low)} calls ({_months(low / calls)})"
    if high is None:
        return f"{uncached} against {rival}, never where its prompt is cached"
    if high - low <= 0.1 * low:
        return f"{uncached} against {rival}"
    return f"{_short(low)} to {_short(high)} calls ({_months(low / calls)} to {_months(high / calls)}) against {rival}"


def told(now: Situation) -> str | None:
    """One sentence over all rivals, with what was assumed and what has expired; None without a volume."""
    found = break_even(now)
    if not found or now.calls_per_month is None:
        return None
    known = (
        f"a prompt of {now.prompt_tokens:,} tokens"
        if now.prompt_tokens
        else (f"an assumed prompt of {number('gates', 'assumed.prompt_tokens'):,.0f} tokens")
    )
    stale = _oldest([fact("prices", f"{TUNED}.{kind}") for kind in ("train", "prefill", "sample")])
    return (
        f"At {now.calls_per_month:,} calls a month with {known}, {spent(now):,.0f} USD for labour and training are "
        f"paid back after {'; '.join(each.text for each in found)}. Hosting of your own comes on top.{stale}"
    )


def _oldest(prices: list[Fact]) -> str:
    old = [price.read_on for price in prices if price.stale()]
    return f" The tuned model's prices were read on {min(old)}: expired, check them." if old else ""


def _months(months: float) -> str:
    return f"{months:.1f} months" if months < 12 else f"{months / 12:.0f} years" if months < 120 else "over 10 years"


def _short(calls: int) -> str:
    return f"{calls / 1e6:.1f}M" if calls >= 1_000_000 else f"{calls / 1e3:.0f}k" if calls >= 10_000 else f"{calls:,}"
