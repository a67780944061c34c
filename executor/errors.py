"""The errors a user may see: each says what is wrong, where, and what to do, and carries the exit code."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

FULL = re.compile(rf"os error {errno.ENOSPC}\b|\[Errno {errno.ENOSPC}\]|\d+ requested and \d+ written")


class FinetuneError(Exception):
    """An expected failure, to be read by a person or a model. Any other exception is a bug."""

    exit_code = 3

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def line(self) -> str:
        """The whole message as one line of text."""
        where = f" ({self.where})" if self.where else ""
        fix = f" {self.fix}" if self.fix else ""
        return " ".join(f"{self.what.rstrip('.')}{where}.{fix}".split())

    def as_json(self) -> dict[str, dict[str, str]]:
        return {"error": {"what": self.what, "where": self.where, "fix": self.fix}}


class UserError(FinetuneError):
    """Something the user can fix: a missing file, an unknown model, no key."""


class DiskFullError(UserError):
    """A disk other than the run's own is full; the run can go on once there is space."""


class UsageError(FinetuneError):
    """The command itself is wrong."""

    exit_code = 2


class ServiceError(FinetuneError):
    """An outside service failed."""

    exit_code = 4


class Interrupted(FinetuneError):  # noqa: N818 (stopping is no error of anyone)
    """Stopped by the user; the work so far is kept."""

    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean "x"?` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'Did you mean "{close[0]}"?' if close else ""


def disk_is_full(error: BaseException | None) -> bool:
    """Whether `error` or what caused it says so, by number or in the words of safetensors, Python and numpy."""
    if error is None:
        return False
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or FULL.search(str(error)) is not None or disk_is_full(error.__cause__)
