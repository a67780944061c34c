"""System messages: many of them, other spellings of one, and rows without."""

from __future__ import annotations

from array import array
from collections import Counter

from executor.data import labels
from executor.data.batch import Batch
from executor.data.judge.held import percent, snippet
from executor.data.problem import Problem, warning

_MANY = 10
"""different system messages from which on they are many, unless each has `_EACH` rows on average"""
_EACH = 20
_FEW_WITHOUT = 0.5
"""share of rows without a system message up to which these rows are named"""
_KEPT = 2000
"""different system messages that are kept to be compared with each other"""
_COMPARED = 200
_LONGEST = 4000
"""characters that are compared"""


class Systems:
    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        """hash of each system message, and its number"""
        self._texts: list[str] = []
        """the first of them, cut"""
        self._codes = array("i")
        """for each row the number of its system message, -1 for none, -2 for one that was not kept"""
        self._lines = array("q")
        self._more = False

    def add(self, batch: Batch) -> list[Problem]:
        codes = {text: self._number(text) for text in dict.fromkeys(batch.systems)}
        self._codes.extend([codes[text] for text in batch.systems])
        self._lines.extend(batch.lines)
        return []

    def finish(self) -> list[Problem]:
        rows = Counter(self._codes)
        n, without = len(self._codes), rows[-1]
        if without == n:
            return []
        return self._missing(n, without) + self._many(n - without) + self._variants(rows)

    def _number(self, text: str) -> int:
        if not text.strip():
            return -1
        key = hash(text)
        if key not in self._numbers:
            if len(self._texts) >= _KEPT:
                self._more = True
                return -2
            self._numbers[key] = len(self._texts)
            self._texts.append(text[:_LONGEST])
        return self._numbers[key]

    def _missing(self, n: int, without: int) -> list[Problem]:
        if not without:
            return []
        fix = "Give every row the same system message, the one that is used later."
        share = percent(n - without, n)
        if without > _FEW_WITHOUT * n:
            message = f"{without} of {n} rows have no system message, {n - without} have one"
            return [warning("missing_system_prompt", message, fix, field="system")]
        message = f"the row has no system message; {share} of the {n} rows have one"
        lines = [line for code, line in zip(self._codes, self._lines, strict=True) if code == -1]
        return [warning("missing_system_prompt", message, fix, line, "system") for line in lines]

    def _many(self, n: int) -> list[Problem]:
        different = len(self._texts)
        if different < _MANY or n >= _EACH * different:
            return []
        least = "more than " if self._more else ""
        message = f"there are {least}{different} different system messages in {n} rows"
        fix = "Use the one that is used later; put what changes from call to call into the question."
        return [warning("many_system_prompts", message, fix, field="system")]

    def _variants(self, rows: Counter[int]) -> list[Problem]:
        """Rows whose system message differs from a commoner one in spacing, casing or a single typing error."""
        counts = {text: rows[number] for number, text in enumerate(self._texts) if len(text) < _LONGEST}
        groups: dict[str, list[str]] = {}
        for text in counts:
            groups.setdefault(" ".join(text.casefold().split()).rstrip(" .!:"), []).append(text)
        better = {}
        for group in groups.values():
            best = max(group, key=lambda text: (counts[text], text == text.strip()))
            better.update({text: best for text in group if text != best})
        common = sorted(counts, key=lambda text: -counts[text])[:_COMPARED]
        better = {**labels.typing_errors({text: counts[text] for text in common if text not in better}), **better}
        fix = "Write the system message in one way only."
        notes = {}
        for number, text in enumerate(self._texts):
            if text in better:
                notes[number] = f'the system message is another spelling of a commoner one: "{snippet(better[text])}"'
        if not notes:
            return []
        places = zip(self._codes, self._lines, strict=True)
        return [
            warning("system_prompt_variant", notes[code], fix, line, "system") for code, line in places if code in notes
        ]
