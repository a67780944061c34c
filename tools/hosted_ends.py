"""When a provider stops: a warning before the day, a refusal from it on; on the provider's own servers alone."""

from __future__ import annotations

import re
from datetime import date

from executor.errors import UserError
from executor.hosted.registry import PROVIDERS, ProviderName, is_own
from knowledge.load import fact
from knowledge.rows import Fact

ENDS: dict[ProviderName, tuple[tuple[str, str], ...]] = {
    "openai": (
        ("openai.finetuning.new_jobs", ""),
        ("openai.older", r"gpt-3\.5-turbo|gpt-4\.1-nano|o4-mini"),
        ("openai.gpt-4o-family", r"gpt-4o|gpt-4\.1"),
    ),
    "together": (),
}
"""(row of shutdowns.yaml, the models whose names begin so; empty: all)"""
CLOSED: dict[ProviderName, tuple[str, ...]] = {
    "openai": ("openai.finetuning.new_users", "openai.finetuning.idle_users"),
    "together": (),
}
"""rows that say for whom it is closed already"""
INSTEAD = (
    "Train an open model here with `finetune go DATA`, or hosted: `finetune hosted submit DATA --provider together "
    "--model NAME`."
)


def ends(provider: ProviderName, url: str, model: str, today: date) -> list[str]:
    """Warnings of what ends soon, dated. Raises UserError where it has ended."""
    if not is_own(provider, url):
        return []
    name = model.strip().casefold().removeprefix("ft:")
    rows = [fact("shutdowns", row) for row, models in ENDS[provider] if re.match(models, name)]
    rows = rows[:2] if any(row.id == "openai.older" for row in rows) else rows
    for row in rows:
        if isinstance(row.value, date) and today >= row.value:
            raise UserError(f"{row.text} {read(row, today)}", PROVIDERS[provider].title, INSTEAD)
    warnings = [f"{row.text} {left(row, today)} {read(row, today)}".replace("  ", " ") for row in rows]
    closed = [fact("shutdowns", row) for row in CLOSED[provider]]
    return warnings + [f"{row.text} {read(row, today)}" for row in closed]


def left(row: Fact, today: date) -> str:
    days = (row.value - today).days if isinstance(row.value, date) else 0
    return f"That is in {days} day{'' if days == 1 else 's'}."


def read(row: Fact, today: date) -> str:
    stale = ", expired: check it again" if row.stale(today) else ""
    return f"(read on {row.read_on}{stale}) [{', '.join(row.source)}]"
