"""What a hosted job would cost: tokens by a rule of thumb with its range, times epochs, times dated prices."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date
from typing import Any

from pydantic import BaseModel

from executor.hosted.provider import Method
from executor.hosted.registry import PROVIDERS, ProviderName
from knowledge.load import facts
from knowledge.rows import Fact

BYTES_PER_TOKEN = (5.0, 4.0, 2.5)
"""of UTF-8, for few, the expected and many tokens; 36 files of English, code, tables and Chinese had 2.2 to 4.6 with a
vocabulary of 49,152 entries, and providers' vocabularies are larger"""
PER_TURN = (3, 4, 7)
"""tokens that the chat format adds to a message"""
METHODS: dict[Method, str] = {"supervised": "lora_sft", "dpo": "lora_dpo"}
"""how a row of prices.yaml names it; LoRA is what Together trains where nothing else is asked for"""
BRACKETS: tuple[tuple[float, str, tuple[str, ...]], ...] = (
    (16.0, "together.16b", ()), (69.0, "together.69b", ("low", "high")),
)  # fmt: skip
"""(largest size in billions of parameters, rows of prices.yaml, their ends; none: one row a method)"""
MIXTURE = re.compile(r"\d+x\d|\d+b-\d+e\b|-a\d+(?:\.\d+)?b\b")
"""in the name of a mixture of experts: 8x7B, 17B-128E, 30B-A3B; which size counts for its price is not known"""
LEVELS = ("low", "expected", "high")


class Price(BaseModel):
    """In USD per million billed tokens."""

    low: float
    high: float
    minimum: float = 0.0
    """USD a job"""
    facts: list[str]
    """ids of the rows it rests on"""
    source: list[str]
    read_on: date
    stale: bool

    def text(self) -> str:
        rate = f"{self.low:.2f}" if self.low == self.high else f"{self.low:.2f} to {self.high:.2f}"
        least = f", at least {self.minimum:.2f} USD a job (an older page states no minimum)" if self.minimum else ""
        old = ", **expired: check it again**" if self.stale else ""
        return f"{rate} USD per million tokens{least} [{', '.join(self.source)}], read on {self.read_on}{old}"


def tokens_of(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """`low, expected, high` tokens of all rows together."""
    size = turns = 0
    for row in rows:
        size += sum(len(text.encode("utf-8", "replace")) for text in leaves(row))
        turns += sum(1 for part in row.values() if isinstance(part, list) for turn in part if isinstance(turn, dict))
    pairs = zip(LEVELS, BYTES_PER_TOKEN, PER_TURN, strict=True)
    return {level: round(size / each + turns * more) for level, each, more in pairs}


def leaves(value: Any, key: str = "") -> Iterable[str]:
    """The texts that are trained on or read before: contents, calls with their arguments, tools; no roles."""
    if isinstance(value, str):
        if key != "role":
            yield value
    elif key in ("tools", "functions", "arguments") and value:
        yield json.dumps(value, ensure_ascii=False)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from leaves(each, str(name))
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, key)


def price_of(provider: ProviderName, model: str, today: date, method: Method = "supervised") -> Price | None:
    """The provider's list price for training this model by this method; None where it is not known."""
    known = {row.id: row for row in facts("prices")}
    if provider == "openai":
        name = re.sub(r"-\d{4}-\d{2}-\d{2}.*$", "", model.strip().casefold().removeprefix("ft:").split(":")[0])
        row = known.get(f"openai.{name}.train")
        return priced([row], today) if row else None
    found = re.findall(r"(\d+(?:\.\d+)?)b\b", model.lower())
    if not found or MIXTURE.search(model.lower()):
        return None
    for most, bracket, ends in BRACKETS:
        if float(found[0]) <= most:
            rows = [known[f"{bracket}.{end}"] for end in ends or (METHODS[method],)]
            return priced(rows, today, known["together.minimum"])
    return None


def priced(rows: list[Fact], today: date, minimum: Fact | None = None) -> Price:
    used = rows + ([minimum] if minimum else [])
    values = [float(row.value) for row in rows if isinstance(row.value, int | float)]
    return Price(
        low=min(values),
        high=max(values),
        minimum=float(minimum.value) if minimum and isinstance(minimum.value, int | float) else 0.0,
        facts=[row.id for row in used],
        source=list(dict.fromkeys(source for row in used for source in row.source)),
        read_on=min(row.read_on for row in rows),
        stale=any(row.stale(today) for row in rows),
    )


def estimate(
    provider: ProviderName, tokens: dict[str, int], checked: dict[str, int], epochs: int, price: Price | None
) -> dict[str, Any]:
    """The contract's `estimate`, with the tokens and the price it rests on.

    `tokens` of the training file, `checked` those of the validation file, which Together bills once for each of its
    evaluations (one an epoch) and OpenAI does not.
    """
    also = checked if provider == "together" else dict.fromkeys(LEVELS, 0)
    billed = {level: (tokens[level] + also[level]) * epochs for level in LEVELS}
    cost = None
    if price:
        rates = {"low": price.low, "expected": (price.low + price.high) / 2, "high": price.high}
        cost = {level: round(billed[level] / 1e6 * rates[level], 4) for level in LEVELS}
        cost |= {level: max(cost[level], price.minimum) for level in ("expected", "high")}
    return {
        "memory_bytes": None, "seconds": None, "cost_usd": cost, "hosting_usd_month": None, "fits": True,
        "device": PROVIDERS[provider].title, "tokens": tokens, "epochs": epochs, "billed_tokens": billed,
        "price": price.model_dump(mode="json") if price else None,
    }  # fmt: skip
