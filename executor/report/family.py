"""All comparisons of the system in question together."""

from __future__ import annotations

from typing import Any

from executor.report import figures as say
from executor.report.document import Origin, Table
from executor.report.folder import number


def family(found: list[dict[str, Any]]) -> Table | None:
    """All comparisons of the system in question, with p-values that hold together."""
    rows = []
    for each in found:
        if number(each.get("difference")) is None:
            continue
        metric = say.name(each.get("metric"))
        rows.append((f"{metric}, against {say.name(each.get('b'))}", say.points(each.get("difference")),
                     say.between(each.get("low"), each.get("high"), say.points) or say.NONE,
                     say.p_value(each.get("p_value")), say.p_value(each.get("p_adjusted"))))  # fmt: skip
    if len(rows) < 2:
        return None
    head = (
        say.name(found[0].get("a") or "fine_tuned"),
        "difference, points",
        "95 % interval",
        "p",
        "p, all together (Holm)",
    )
    origin = Origin("computed", "paired on the same rows; Holm's adjustment over all lines")
    return Table(head, tuple(rows), (1, 2, 3, 4), origin, "Every comparison")
