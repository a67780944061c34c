"""The store of versions under several processes at once, and on a disk that is full."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from executor.data.store import all_versions, content
from executor.data.version import Version
from executor.home import workspace


def held(version: Version) -> bytes:
    return b"".join(content(version.files[0]))


WRITER = """
import sys
from pathlib import Path
from executor.data.store import ensure_source, record
shared, mine, own = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
source = ensure_source(shared)
for number in range(10):
    mine.write_text(f"{own if number % 2 else 'same'} {number}\\n")
    record(mine, "clean", {"writer": own, "number": number}, [source], 1)
"""


def test_two_processes_at_once_lose_no_record(tmp_path: Path) -> None:
    shared = tmp_path / "shared.jsonl"
    shared.write_text("rows\n" * 10_000)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(shared), str(tmp_path / f"{own}.jsonl"), own],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )
        for own in ("a", "b", "c")
    ]  # fmt: skip
    for process in running:
        assert process.communicate(timeout=60)[1] == ""
    versions = all_versions()
    done = {(each.parameters["writer"], each.parameters["number"]) for each in versions if each.step == "clean"}
    assert done == {(own, number) for own in "abc" for number in range(10)}
    assert {held(each) for each in versions if each.step == "source"} == {b"rows\n" * 10_000}
    assert all(held(each) for each in versions)


FULL = """
import resource, sys
from pathlib import Path
from executor.data.store import record
from executor.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    record(Path(sys.argv[1]), "clean", {"note": "x" * 20_000}, [], 1)
except UserError as error:
    print(error.line())
"""


@pytest.mark.parametrize(("size", "limit"), [(300_000, 50_000), (10, 9_000)])
def test_a_full_disk_leaves_nothing_half_written(size: int, limit: int, tmp_path: Path) -> None:
    """First the content does not fit, then the record."""
    path = tmp_path / "noise.jsonl"
    path.write_bytes(random.Random(0).randbytes(size))
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(limit)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    assert "Cannot" in done.stdout
    assert all_versions() == []
    left = [file for file in (workspace() / "datasets").rglob("*") if file.is_file() and file.name.endswith(".tmp")]
    assert left == []
    if size > limit:
        assert not [file for file in (workspace() / "datasets").rglob("*") if file.is_file()]
