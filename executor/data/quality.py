"""Everything that looks at the quality of well-formed rows, as judges that see each row once."""

from __future__ import annotations

from typing import Protocol

from executor.data.batch import Batch
from executor.data.problem import Problem


class Judge(Protocol):
    """Judges the quality of well-formed rows as they pass."""

    def add(self, batch: Batch) -> list[Problem]:
        """What rows of this batch show by themselves."""

    def finish(self) -> list[Problem]:
        """What only the whole set shows; it may name lines."""


def quality_judges() -> list[Judge]:
    """Fresh judges of everything."""
    # imported here: numpy and the tables of telephone numbers take a quarter of a second
    from executor.data.judge import JUDGES
    from executor.data.repeats import Repeats
    from executor.data.sensitive import Sensitive

    return [*(judge() for judge in JUDGES), Sensitive(), Repeats()]
