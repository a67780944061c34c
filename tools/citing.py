"""The sources that a run's reasons, rules and prices name, for whoever reads its report."""

from __future__ import annotations

from executor.spec import Cited, EvaluateSpec
from knowledge.load import sources
from tools.break_even import break_even
from tools.situation import Situation


def priced(evaluate: EvaluateSpec) -> set[str | None]:
    """The sources of the prices that the run's costs and its break-even rest on."""
    prices = {endpoint.price_source for endpoint in evaluate.endpoints}
    found = break_even(Situation(calls_per_month=evaluate.calls_per_month)) if evaluate.calls_per_month else []
    return prices | {source for each in found for source in each.sources}


def cited(ids: set[str | None], evaluate: EvaluateSpec) -> dict[str, Cited]:
    """Title and address of each of these sources, and of what the evaluation's rules and prices rest on."""
    known, ids = sources(), ids | set(evaluate.sources.values()) | priced(evaluate)
    found = {key: known[key].reference() for key in sorted(filter(None, ids)) if key in known}
    return {key: Cited(title=str(row["title"]), url=row["url"], read_on=row["read_on"]) for key, row in found.items()}
