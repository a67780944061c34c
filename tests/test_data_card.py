"""The dataset card: the hub's layout, nothing of the machine, nothing invented, text of the data harmless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.data.dataset_card import Facts, card
from executor.data.store import ensure_source, record
from executor.data.task import Task
from executor.data.version import Version
from executor.errors import UserError


@pytest.fixture
def parted(tmp_path: Path) -> Version:
    """A split of 1,200 rows, made of a source in a telling folder."""
    folder = tmp_path / "jane_roe_private"
    folder.mkdir()
    for name in ("raw.csv", "train.jsonl", "test.jsonl"):
        (folder / name).write_text(name)
    source = ensure_source(folder / "raw.csv", 1300)
    parts = {"train": (folder / "train.jsonl", 1000), "test": (folder / "test.jsonl", 200)}
    parameters = {
        "seed": 3,
        "group_by": None,
        "log": str(folder / "log.txt"),
        "note": f"read {folder}/x.csv, then C:\\a\\b",
    }
    return record(folder, "split", parameters, [source], parts=parts, lines=[7, 9])


def front(text: str) -> dict[str, Any]:
    _, matter, _ = text.split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(matter)
    return loaded


KNOWN = Facts(
    name="Tickets",
    about="Messages to a help desk and the team that answers.",
    languages=("en", "de"),
    license="cc-by-4.0",
    task=Task(kind="label", labels=("billing", "card_lost")),
    counts={"exact_duplicate": 4, "pii_email": 2, "mojibake": 0},
    gaps=("Only messages of 2023.",),
)


def test_the_front_matter_is_the_hubs(parted: Version) -> None:
    found = front(card(parted, KNOWN))
    assert found["language"] == ["en", "de"]
    assert found["license"] == "cc-by-4.0"
    assert found["task_categories"] == ["text-classification"]
    assert found["size_categories"] == ["1K<n<10K"]
    files = found["configs"][0]["data_files"]
    assert files == [{"split": "train", "path": "train.jsonl"}, {"split": "test", "path": "test.jsonl"}]


def test_what_is_known_is_told(parted: Version) -> None:
    text = card(parted, KNOWN)
    for told in (
        "# Tickets", "billing, card_lost", "raw.csv", "1,200 rows.", "| train | train.jsonl | 1,000 |", "seed = 3",
        "| exact_duplicate | 4 |", "an e-mail address (2)", "Only messages of 2023.", "| 1,200 | 2 |",
    ):  # fmt: skip
        assert told in text
    assert "mojibake" not in text
    assert text.index("What it is") < text.index("Known gaps")


def test_nothing_of_the_machine_is_told(parted: Version, tmp_path: Path) -> None:
    text = card(parted, KNOWN)
    assert str(tmp_path) not in text
    assert "log = log.txt" in text
    assert "read x.csv, then b" in text
    assert "/tmp" not in text


def test_what_is_not_known_says_so_and_nothing_is_invented(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    text = card(record(tmp_path / "a.jsonl", "format"), Facts())
    found = front(text)
    assert found == {"license": "unknown", "pretty_name": "a"}
    for said in (
        "What the rows are about was not stated.",
        "The kind of task was not determined.",
        "no source file is recorded",
        "The rows were not counted.",
        "no check of the rows is recorded",
        "not searched for personal data",
        "Not known: languages, license, kind of task, number of rows, quality.",
    ):
        assert said in text


def test_personal_data_that_was_replaced(parted: Version) -> None:
    text = card(parted, Facts(counts={"pii_email": 0}, redacted=True))
    assert "None was found" in text
    assert "replaced by stand-ins" in text
    assert "finds only what has a typical form" in text


@pytest.mark.parametrize(("rows", "size"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (2_000_000, "1M<n<10M")])
def test_sizes(rows: int, size: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    assert front(card(record(tmp_path / "a.jsonl", "format", rows=rows), Facts()))["size_categories"] == [size]


@pytest.mark.parametrize("facts", [Facts(license="free: as in beer"), Facts(languages=("English\n- x",))])
def test_what_the_hub_would_refuse_is_refused(facts: Facts, parted: Version) -> None:
    with pytest.raises(UserError, match="of the hub"):
        card(parted, facts)


HOSTILE = st.text(st.sampled_from("<>|`*_[]()#!-~\n\t&:'\"\\/{}ab\u202e"), min_size=1, max_size=20)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HOSTILE, HOSTILE, HOSTILE)
def test_text_of_the_data_stays_text(parted: Version, name: str, label: str, gap: str) -> None:
    plain = card(parted, Facts(name="n", task=Task(kind="label", labels=("l",)), gaps=("g",)))
    text = card(parted, Facts(name=name, task=Task(kind="label", labels=(label,)), gaps=(gap,)))
    body = text.split("---\n", 2)[2]
    assert "<" not in body
    assert "\u202e" not in body
    assert len(body.splitlines()) == len(plain.split("---\n", 2)[2].splitlines())
    assert front(text)["pretty_name"] == " ".join(name.split())
