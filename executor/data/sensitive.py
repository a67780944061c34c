"""Personal data and secrets as problems of a batch, and their replacement by stand-ins."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from executor.data import personal, secrets
from executor.data.batch import Batch
from executor.data.found import Found
from executor.data.problem import Problem, warning
from executor.data.screen import Screen
from executor.data.search_worker import Founds, SearchWorker

FINDERS = (*personal.FINDERS, *secrets.FINDERS)
WORDS = {
    "pii_email": "an e-mail address",
    "pii_phone": "what looks like a phone number",
    "pii_credit_card": "a payment card number",
    "pii_iban": "a bank account number (IBAN)",
    "pii_ssn": "a US social security number",
    "pii_national_id": "a national identity number",
    "pii_ip": "an IP address",
    "pii_date_of_birth": "a date of birth",
    "pii_address": "a street address",
    "pii_passport": "a passport number",
    "pii_driver_license": "a driving licence number",
    "pii_name": "a person's name",
    "secret": "a secret",
}
"""what a text with a problem of this code holds"""
_STAND_INS = {code: code.removeprefix("pii_").upper() for code in WORDS}
_FIX = "Replace it by a neutral stand-in; a tuned model can repeat what it saw."
_REVOKE = "Take it out of the data, and have it revoked: whoever saw the file can use it."
_SHOWN = 4
"""characters of a secret that a message may show"""
_LONG_ENOUGH = 12
"""below this length four characters would tell too much of a secret"""
_ALONE = 4
"""batches searched here; starting a process for fewer takes longer than it saves"""
_WAITING = 8
"""batches that may wait for the worker"""
_ROUNDS = 8
"""stand-ins can join what stood apart; each round leaves fewer digits and letters to find"""


class Sensitive:
    """Personal data and secrets, in every role: one warning for each row, role and code."""

    def __init__(self) -> None:
        self._batches = 0
        self._worker: SearchWorker | None = None
        self._waiting: deque[tuple[_Texts, Future[Founds | None]]] = deque()

    def add(self, batch: Batch) -> list[Problem]:
        texts = _Texts(batch)
        self._batches += 1
        if self._batches <= _ALONE or (os.cpu_count() or 1) < 2:
            return texts.problems(first_founds(texts.texts))
        self._worker = self._worker or SearchWorker()
        self._waiting.append((texts, self._worker.submit(texts.texts)))
        return self._answered(_WAITING)

    def finish(self) -> list[Problem]:
        found = self._answered(0)
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        return found

    def _answered(self, most: int) -> list[Problem]:
        """What the worker has found, in order of the file, once at most `most` batches wait for it."""
        problems: list[Problem] = []
        while self._waiting and (len(self._waiting) > most or self._waiting[0][1].done()):
            texts, answer = self._waiting.popleft()
            founds = answer.result()
            problems += texts.problems(first_founds(texts.texts) if founds is None else founds)
        return problems


class _Texts:
    """The different texts of a batch: one that occurs again, such as a label, is looked at once."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._places: dict[str, list[int]] = {}
        for place, text in enumerate(batch.texts):
            self._places.setdefault(text, []).append(place)
        self.texts = list(self._places)

    def problems(self, founds: Founds) -> list[Problem]:
        batch = self._batch
        problems: dict[tuple[int, str, str], Problem] = {}
        for number, found in founds:
            for place in self._places[self.texts[number]]:
                owner, role = batch.owners[place], batch.roles[place]
                key = (owner, role, found.kind)
                if key not in problems:
                    problems[key] = _problem(found, batch.lines[owner], role)
        return [problems[key] for key in sorted(problems, key=lambda key: key[0])]


def judge(batch: Batch) -> list[Problem]:
    """As `Sensitive`, of one batch."""
    texts = _Texts(batch)
    return texts.problems(first_founds(texts.texts))


def first_founds(texts: Sequence[str]) -> Founds:
    """(place, found): the first of each kind that each search finds in a text."""
    screen = Screen(texts)
    founds: Founds = []
    for finder in FINDERS:
        for place in map(int, np.flatnonzero(finder.gate(screen))):
            kinds: set[str] = set()
            for found in finder.find(texts[place]):
                if found.kind not in kinds:
                    kinds.add(found.kind)
                    founds.append((place, found))
    return founds


def _problem(found: Found, line: int, role: str) -> Problem:
    message = f"holds {WORDS[found.kind]}"
    if found.kind == "secret":
        shown = f", {found.text[:_SHOWN]}…" if len(found.text) >= _LONG_ENOUGH else ""
        return warning(found.kind, f"{message} ({found.what}{shown})", _REVOKE, line, role)
    message += f" ({found.what})" if found.what else ""
    return warning(found.kind, message, _FIX, line, role)


def find(text: str) -> list[Found]:
    """Personal data and secrets, in order of the text; no two spans overlap."""
    return resolved(text, [*personal.find(text), *secrets.find(text)])


def resolved(text: str, found: list[Found]) -> list[Found]:
    """Spans that overlap become one of the kind of the secret among them, else of the longest."""
    groups: list[list[Found]] = []
    end = -1
    for each in sorted(found, key=lambda f: (f.start, -f.end)):
        if each.start < end:
            groups[-1].append(each)
        else:
            groups.append([each])
        end = max(end, each.end)
    return [_joined(text, group) for group in groups]


def _joined(text: str, group: list[Found]) -> Found:
    main = max(group, key=lambda f: (f.kind == "secret", f.end - f.start))
    start, end = group[0].start, max(each.end for each in group)
    return main._replace(start=start, end=end, text=text[start:end])


class StandIns:
    """Stand-ins of one row: the same value gets the same one, another value of its kind the next number."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()

    def reserve(self, text: str) -> None:
        """Leaves out those that already stand in a text, which stand for values unknown."""
        self._taken.update(_BRACKETED.findall(text))

    def of(self, found: Found) -> str:
        key = (found.kind, _plain(found.text))
        if key not in self._of:
            name, number = _STAND_INS[found.kind], 1
            while (stand_in := f"[{name}]" if number == 1 else f"[{name}_{number}]") in self._taken:
                number += 1
            self._taken.add(stand_in)
            self._of[key] = stand_in
        return self._of[key]


_BRACKETED = re.compile(rf"\[(?:{'|'.join(_STAND_INS.values())})(?:_\d{{1,6}})?\]")


def redact(text: str, stand_ins: StandIns | None = None) -> tuple[str, list[str]]:
    """(the text with stand-ins such as [EMAIL], the codes found); give the texts of a row the same `stand_ins`."""
    stand_ins, codes = stand_ins or StandIns(), dict[str, None]()
    stand_ins.reserve(text)
    for _ in range(_ROUNDS):
        found = find(text)
        if not found:
            break
        pieces, at = [], 0
        for each in found:
            pieces += [text[at : each.start], stand_ins.of(each)]
            codes[each.kind], at = None, each.end
        text = "".join([*pieces, text[at:]])
    return text, list(codes)


def suspects(texts: Sequence[str], screen: Screen | None = None) -> list[int]:
    """Places of the texts that `find` or `redact` need to look at; all others hold nothing."""
    screen = screen or Screen(texts)
    mask = np.zeros(len(texts), np.bool_)
    for finder in FINDERS:
        mask |= finder.gate(screen)
    return [int(place) for place in np.flatnonzero(mask)]


def _plain(text: str) -> str:
    """Equal for spellings of one value: case, spaces and separators set aside."""
    return re.sub(r"[\s()./\u00a0\u2010-\u2013-]", "", text).casefold()
