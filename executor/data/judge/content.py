"""What single texts show: leftovers, broken characters, refusals, answers that loop or stop in the middle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from executor.data.batch import Batch
from executor.data.judge import leftovers, refusals, runaway
from executor.data.judge.facts import Facts, Mask, Texts, facts
from executor.data.judge.held import Held, percent, snippet
from executor.data.problem import Problem
from executor.data.rows import LEAD
from executor.data.screen import Counts, Screen

_REMOVE = "Remove the row, or write the answer anew."
_KINDS = {
    "placeholder": ("a placeholder was left unfilled", "Fill it or remove the row."),
    "empty_answer": ("the answer holds nothing to read", "Write the answer or remove the row."),
    "refusal": ("the answer declines to help", "Remove the row unless the model is to decline such questions."),
    "repetition": ("the answer repeats itself over and over", _REMOVE),
    "truncated_answer": ("the answer stops in the middle", "Complete the answer or remove the row."),
    "mojibake": ("characters look decoded in the wrong encoding", "Export the data again as UTF-8."),
    "control_characters": ("the text holds control characters", "Remove them; no model should learn to write them."),
    "html_markup": ("HTML was left in the text", "Convert the text to plain text (or Markdown)."),
    "template_tokens": (
        "tokens of a chat template stand in the text",
        "Give the bare texts as messages; the template is put around them in training.",
    ),
}
_HTML_RARE = 0.1
"""share of rows up to which HTML is a leftover rather than how the set is written"""
_CLOSED = 0.9
"""share of prose answers with final punctuation from which on one without is taken for cut off"""
_SMALL = 20
_LABEL_SHARE = 0.05
"""share of rows from which on an answer such as "none" is one of the set's own"""
_OWN_WORDS = frozenset({"none", "n/a", "na", "null", "-", "?"})
_SYSTEMS = 10_000


class Content:
    """Faults that a row shows by itself, named when the set is known to be otherwise free of them."""

    def __init__(self) -> None:
        self._rows = 0
        self._held = {code: Held(code, general, fix) for code, (general, fix) in _KINDS.items()}
        self._weak = Held("truncated_answer", *_KINDS["truncated_answer"])
        self._words: dict[str, Held] = {}
        self._prose = 0
        self._closed = 0
        self._systems: set[int] = set()
        """hashes of system messages that were reported, each once"""

    def add(self, batch: Batch) -> list[Problem]:
        self._rows += len(batch)
        known = facts(batch)
        self._texts(batch, known)
        self._answers(batch, known.answers)
        return []

    def finish(self) -> list[Problem]:
        if self._rows >= _SMALL and self._prose and self._closed > _CLOSED * self._prose:
            share = percent(self._closed, self._prose)
            note = f"the answer ends without punctuation, {share} of the {self._prose} answers in sentences have it"
            for line in self._weak.lines:
                self._held["truncated_answer"].add(line, "assistant", note)
        for word, held in self._words.items():
            common = self._rows >= _SMALL and len(held.lines) >= _LABEL_SHARE * self._rows
            if not (common and word in _OWN_WORDS):
                for line in held.lines:
                    self._held["placeholder"].add(line, "assistant", held.general)
        html = self._held.pop("html_markup")
        found = [problem for held in self._held.values() for problem in held.problems(self._rows)]
        if self._rows < _SMALL or len(set(html.lines)) <= _HTML_RARE * self._rows:
            found += html.problems(self._rows)
        return found

    def _texts(self, batch: Batch, known: Facts) -> None:
        texts = known.texts
        hits: dict[str, list[tuple[str, str]]] = {}
        for place in np.flatnonzero(_suspects(texts)).tolist():
            text = texts.texts[place]
            if found := list(_leftovers(text)):
                hits[text] = found
        if not hits:
            return
        for text, owner, role in zip(batch.texts, batch.owners, batch.roles, strict=True):
            if text in hits:
                self._report(batch, owner, role, text, hits[text])

    def _report(self, batch: Batch, owner: int, role: str, text: str, found: list[tuple[str, str]]) -> None:
        if role in LEAD:
            if hash(text) in self._systems or len(self._systems) >= _SYSTEMS:
                return
            self._systems.add(hash(text))
        for code, note in found:
            if code == "html_markup" and (role not in ("user", "assistant") or _about_markup(batch, owner)):
                continue
            if code == "blank":
                self._blank(batch, owner, role, text.strip())
            else:
                self._held[code].add(batch.lines[owner], role, note)

    def _blank(self, batch: Batch, owner: int, role: str, word: str) -> None:
        note = f'the text is only "{word}"'
        if role == "assistant" and batch.answers[owner] == word:
            held = self._words.setdefault(word.casefold(), Held("placeholder", note, ""))
            held.add(batch.lines[owner], role)
        elif role not in ("tool", "function"):
            self._held["placeholder"].add(batch.lines[owner], role, note)

    def _answers(self, batch: Batch, answers: Texts) -> None:
        counts = np.bincount(answers.places, minlength=len(answers.texts))
        found: dict[int, tuple[str, str]] = {}
        for place in np.flatnonzero(refusals.suspects(answers.screen)).tolist():
            if words := refusals.refusal(answers.texts[place]):
                found[place] = ("refusal", f'the answer declines to help: "{snippet(words)}"')
        for place in np.flatnonzero(answers.screen.lengths <= _LONGEST_EMPTY).tolist():
            if _nothing(answers.texts[place]):
                found[place] = ("empty_answer", _KINDS["empty_answer"][0])
        for place, text in enumerate(answers.texts):
            if runaway.suspicious(text) and (unit := runaway.loops(text)):
                found[place] = ("repetition", f'the answer repeats itself over and over: "{snippet(unit)}"')
        weak = self._ends(answers, counts, found)
        if not found and not weak:
            return
        for place, line in zip(answers.places.tolist(), batch.lines, strict=True):
            if place in found:
                self._held[found[place][0]].add(line, "assistant", found[place][1])
            elif place in weak:
                self._weak.lines.append(line)

    def _ends(self, answers: Texts, counts: Counts, found: dict[int, tuple[str, str]]) -> set[int]:
        """Adds the answers that are certainly cut off to `found`; returns those that are if others end properly."""
        prose = answers.prose
        weak = set()
        certain = 0
        for place in np.flatnonzero(prose & ~answers.closed).tolist():
            text = answers.texts[place]
            if place in found:
                certain += int(counts[place])
            elif reason := runaway.cut_off(text):
                found[place] = ("truncated_answer", f"the answer stops in the middle: {reason}")
                certain += int(counts[place])
            elif runaway.unfinished(text):
                weak.add(place)
            else:
                certain += int(counts[place])
        for place in np.flatnonzero(answers.screen.holding("```")).tolist():
            if place not in found and runaway.open_fence(answers.texts[place]):
                found[place] = (
                    "truncated_answer",
                    "the answer stops in the middle: a block of code (```) is never closed",
                )
        self._prose += int(counts[prose].sum()) - certain
        self._closed += int(counts[prose & answers.closed].sum())
        return weak


_LONGEST_EMPTY = 12
_NOTHING = str.maketrans("", "", " \t\r\n\u00a0\u200b\u200c\u200d\u2060\ufeff\u3000\"'“”`")


def _nothing(answer: str) -> bool:
    """Whether an answer consists of quotation marks and invisible characters only."""
    return not answer.translate(_NOTHING) or answer in ("&nbsp;", "<br>", "<p></p>")


def _suspects(texts: Texts) -> Mask:
    screen = texts.screen
    mask = screen.holding(*leftovers.OTHER_HINTS)
    # one of them is the end mark that the screen puts behind every text
    mask |= (screen.lengths <= leftovers.LONGEST_BLANK) | (screen.count(leftovers.CONTROL) > 1)
    bracketed = np.flatnonzero(screen.brackets)
    mask |= (screen.lengths <= leftovers.LONGEST_FIELD) & (screen.brackets > 0)
    if len(bracketed):
        mask[bracketed] |= Screen([texts.texts[place] for place in bracketed]).holding_folded(*leftovers.BRACKET_HINTS)
    if not screen.is_ascii:
        mask |= np.array([not text.isascii() for text in texts.texts], dtype=np.bool_)
    return mask


def _leftovers(text: str) -> Iterator[tuple[str, str]]:
    """(code, message) of each leftover of a text; the code "blank" where a filler is all there is."""
    if leftovers.is_blank(text):
        yield "blank", ""
    if leftovers.is_blank(text) or _nothing(text):
        return
    if found := leftovers.placeholder(text):
        yield "placeholder", f"a placeholder was left unfilled: {snippet(found)}"
    if not text.isascii() and (found := leftovers.mojibake(text)):
        yield "mojibake", f"characters look decoded in the wrong encoding: {snippet(found)}"
    elif found := leftovers.control(text):
        yield "control_characters", f"the text holds the control character U+{ord(found):04X}"
    if found := leftovers.template_token(text):
        yield "template_tokens", f"a token of a chat template stands in the text: {snippet(found)}"
    elif found := leftovers.markup(text):
        yield "html_markup", f"HTML was left in the text: {snippet(found)}"


def _about_markup(batch: Batch, owner: int) -> bool:
    return leftovers.talks_of_markup(batch.asked[owner]) or leftovers.talks_of_markup(batch.systems[owner])
