"""The languages of a set, and answers in another language than their question."""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict

import numpy as np

from executor.data.batch import Batch
from executor.data.judge.facts import Mask
from executor.data.judge.held import percent
from executor.data.judge.told import NAMES, SCRIPTS, common_words, kin, language, scripts
from executor.data.problem import Problem, warning

FIRST = 4000
"""rows at the beginning of which every one is looked at"""
LATER = 32
"""of the rows after these one in so many is looked at, besides those whose answer is in another script or lacks the
commonest words of the answers so far"""
_HEARD = 400
"""answers whose commonest words are looked for in the later ones"""
_MARKS = 8
_MAIN = 0.8
"""share of the answers in one language from which on they are of use"""
_MARKED = 0.97
"""share of answers that these words are chosen to be in"""
_SENTENCE = 20
"""characters; shorter answers need not have any common word"""
_LEAST = 20
_MIXED = 0.01
"""share of the rows from which on another language is told of"""
_MIXED_LEAST = 3
_RULE = 0.2
"""share of the rows with an answer in another language from which on this is what the set is about"""
_LINES = 5
_LONGEST = 400
"""characters that tell a language"""
_TRANSLATION = re.compile(
    r"translat|traduc|traduz|tradui|übersetz|vertaal|перевед|翻译|翻訳|번역|\bauf deutsch\b|\ben español\b"
    r"|\ben français\b|\b(?:language|say|word|phrase|mean)\b"
    r"|\bin (?:english|german|french|spanish|italian|portuguese|dutch|polish|russian|chinese|japanese|korean|arabic"
    r"|hindi|turkish|latin)\b",
    re.IGNORECASE,
)
"""questions that may ask for another language"""
_CODE_START = ("{", "[", "<", "`", "#", "|")


class Language:
    """Languages of questions and answers: of all rows of small files, of a sample of large ones."""

    def __init__(self) -> None:
        self._seen = 0
        self._questions: Counter[str] = Counter()
        self._examples: defaultdict[str, list[int]] = defaultdict(list)
        self._pairs: Counter[tuple[str, str]] = Counter()
        """rows of the sample, by the language of the question and of the answer"""
        self._sampled = 0
        self._odd_lines = array("q")
        self._odd: list[tuple[str, str]] = []
        self._heard: list[tuple[str, str]] = []
        """the first answers in lower case, each with its language"""
        self._marks: list[str] | None = None
        """common words of which nearly every answer has one; None until they are chosen"""

    def add(self, batch: Batch) -> list[Problem]:
        n = len(batch)
        sampled = np.zeros(n, np.bool_)
        fresh = max(0, min(n, FIRST - self._seen))
        sampled[:fresh] = True
        sampled[fresh::LATER] = True
        self._seen += n
        looked = sampled | _differ(batch)
        self._look(batch, looked, sampled)
        if self._seen > FIRST:
            if self._marks is None:
                self._marks = _marks(self._heard)
            self._look(batch, self._unlike(batch) & ~looked, sampled)
        return []

    def finish(self) -> list[Problem]:
        if self._sampled < _LEAST:
            return []
        return self._mix() + self._others()

    @property
    def shares(self) -> dict[str, int]:
        """Rows of the sample by the language of their question, the commonest first."""
        return dict(self._questions.most_common())

    def _look(self, batch: Batch, rows: Mask, sampled: Mask) -> None:
        for place in np.flatnonzero(rows).tolist():
            self._row(batch, place, bool(sampled[place]))

    def _row(self, batch: Batch, place: int, sampled: bool) -> None:
        asked, answer = batch.asked[place], batch.answers[place]
        question = language(asked[:_LONGEST])
        reply = None if answer.startswith(_CODE_START) else language(answer[:_LONGEST])
        if sampled:
            self._sampled += 1
            if spoken := question or reply:
                self._questions[spoken] += 1
                if len(self._examples[spoken]) < _LINES:
                    self._examples[spoken].append(batch.lines[place])
            if reply and len(self._heard) < _HEARD:
                self._heard.append((f" {answer[:_LONGEST].lower()} ", reply))
            if question and reply:
                self._pairs[question, reply] += 1
        if question is None or reply is None or kin(question, reply):
            return
        if not _TRANSLATION.search(asked) and not _TRANSLATION.search(batch.systems[place]):
            self._odd_lines.append(batch.lines[place])
            self._odd.append((question, reply))

    def _unlike(self, batch: Batch) -> Mask:
        """Rows whose answer has none of the common words."""
        places = [i for i, text in enumerate(batch.answers) if len(text) > _SENTENCE] if self._marks else []
        for mark in self._marks or ():
            places = [i for i in places if mark not in batch.answers[i]]
        mask = np.zeros(len(batch), np.bool_)
        mask[places] = True
        return mask

    def _mix(self) -> list[Problem]:
        told = self._questions.total()
        others = [(each, n) for each, n in self._questions.most_common()[1:] if n >= _MIXED_LEAST]
        rare = [each for each, n in others if n >= _MIXED * told]
        found = []
        if rare:
            main = self._questions.most_common(1)[0][0]
            shares = ", ".join(f"{NAMES[each]} {percent(self._questions[each], told)}" for each in (main, *rare))
            message = f"several languages, by {told} rows that tell: {shares}; {self._first(rare[0])}"
            fix = "Keep the languages the model will be asked in; each needs enough rows, and test rows of its own."
            found.append(warning("language_mix", message, fix))
        for each, n in others:
            if n < _MIXED * told:
                message = f"only {n} of {told} rows that tell are in {NAMES[each]}; {self._first(each)}"
                fix = "Add rows of this language if the model will be asked in it; else remove them."
                found.append(warning("thin_slice", message, fix))
        return found

    def _first(self, each: str) -> str:
        return f"{NAMES[each]} first in line {', '.join(map(str, self._examples[each]))}"

    def _others(self) -> list[Problem]:
        """Answers in another language, unless questions of that language are mostly answered so."""
        of: Counter[str] = Counter()
        for (question, _), n in self._pairs.items():
            of[question] += n
        crossed = sum(n for (question, reply), n in self._pairs.items() if not kin(question, reply))
        if crossed > _RULE * self._pairs.total():
            return []
        fix = "Answer in the language of the question, or remove the row."
        found = []
        for (question, reply), line in zip(self._odd, self._odd_lines, strict=True):
            if self._pairs[question, reply] > of[question] / 2 and of[question] > _LINES:
                continue
            message = f"the question is in {NAMES[question]}, the answer in {NAMES[reply]}"
            found.append(warning("other_language", message, fix, line, "assistant"))
        return found


def _marks(heard: list[tuple[str, str]]) -> list[str]:
    """Words, each between spaces, of which nearly all answers have one; none where no language leads."""
    if not heard:
        return []
    code, n = Counter(reply for _, reply in heard).most_common(1)[0]
    texts = [text for text, reply in heard if reply == code]
    if n < _MAIN * len(heard):
        return []
    words = [f" {word} " for word in common_words(code)]
    chosen: list[str] = []
    while words and len(chosen) < _MARKS and len(texts) > (1 - _MARKED) * n:
        best = max(words, key=lambda word: sum(word in text for text in texts))
        chosen.append(best)
        texts = [text for text in texts if best not in text]
    return chosen


def _differ(batch: Batch) -> Mask:
    """Rows whose answer is in another script than the question."""
    mask = np.zeros(len(batch), np.bool_)
    pairs = zip(batch.asked, batch.answers, strict=True)
    places = [i for i, (asked, answer) in enumerate(pairs) if not (asked.isascii() and answer.isascii())]
    if places:
        asked = scripts([batch.asked[place][:_LONGEST] for place in places])
        answers = scripts([batch.answers[place][:_LONGEST] for place in places])
        mask[places] = (asked != answers) & (asked != SCRIPTS.index("")) & (answers != SCRIPTS.index(""))
    return mask
