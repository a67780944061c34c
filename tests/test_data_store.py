"""Versions of datasets: nothing is lost, nothing is half-written, undo brings back, damage is told."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.data import lineage, store
from executor.data.store import all_versions, attach, attached, content, ensure_source, lookup, record
from executor.data.undo import undo
from executor.data.version import Version
from executor.errors import UserError
from executor.files import write_jsonl
from executor.home import workspace
from tools.versions import VERSION_TOOLS

Row = dict[str, Any]
TOOLS = {tool.name: tool for tool in VERSION_TOOLS}


def held(version: Version) -> bytes:
    return b"".join(content(version.files[0]))


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def chain(tmp_path: Path) -> tuple[Version, Version, Version]:
    """A source, its cleaned rows in another file, and a split of these."""
    source = ensure_source(written(tmp_path / "raw.jsonl", "one\ntwo\ntwo\n"), rows=3)
    clean = record(written(tmp_path / "clean.jsonl", "one\ntwo\n"), "clean", {"fix": ["dup"]}, [source], 2, lines=[3])
    parts = {name: (written(tmp_path / "parts" / f"{name}.jsonl", f"{name}\n"), 1) for name in ("train", "test")}
    return source, clean, record(tmp_path / "parts", "split", {"seed": 1}, [clean], parts=parts)


def test_a_version_says_what_was_made_of_what(chain: tuple[Version, Version, Version], tmp_path: Path) -> None:
    source, clean, parted = chain
    assert (source.step, source.parents, source.rows) == ("source", (), 3)
    assert (clean.parents, clean.parameters, clean.lines, clean.touched) == ((source.id,), {"fix": ["dup"]}, (3,), 1)
    assert (parted.rows, set(parted.parts), parted.path) == (2, {"train", "test"}, str(tmp_path / "parts"))
    assert lineage.history() == list(chain) == lineage.history(tmp_path / "parts" / "test.jsonl")
    assert lineage.history(tmp_path / "raw.jsonl") == list(chain)
    assert lineage.ancestors(clean) == [source, clean]
    assert held(source) == b"one\ntwo\ntwo\n"


def test_a_branch_is_no_part_of_its_siblings_history(chain: tuple[Version, Version, Version], tmp_path: Path) -> None:
    source = chain[0]
    other = record(written(tmp_path / "other.jsonl", "two\n"), "clean", {}, [source], 1)
    assert lineage.history(tmp_path / "other.jsonl") == [source, other]


def test_lookup_by_beginning_and_by_path(chain: tuple[Version, Version, Version], tmp_path: Path) -> None:
    _, clean, parted = chain
    assert lookup(clean.id[:6]) == clean == lookup(tmp_path / "clean.jsonl")
    assert lookup(str(tmp_path / "parts")) == parted == lookup(tmp_path / "parts" / "train.jsonl")
    with pytest.raises(UserError, match="no version") as unknown:
        lookup(tmp_path / "claen.jsonl")
    assert "clean.jsonl" in unknown.value.fix
    for word in ("", "zzzz", "\0", clean.id[:2]):
        with pytest.raises(UserError):
            lookup(word)


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    first = ensure_source(written(tmp_path / "a.jsonl", "same\n" * 1000))
    assert ensure_source(tmp_path / "a.jsonl") == first
    copy = ensure_source(written(tmp_path / "b.jsonl", "same\n" * 1000))
    assert (copy.sha256, copy.parents) == (first.sha256, (first.id,))
    objects = [path for path in (workspace() / "datasets" / "objects").rglob("*") if path.is_file()]
    assert len(objects) == 1
    assert objects[0].stat().st_size < 1000


def test_what_lies_on_disk_is_told(chain: tuple[Version, Version, Version], tmp_path: Path) -> None:
    source, clean, parted = chain
    written(tmp_path / "clean.jsonl", "one\nTWO\n")
    (tmp_path / "parts" / "test.jsonl").unlink()
    assert lineage.states(chain) == {source.id: "unchanged", clean.id: "changed", parted.id: "gone"}
    newer = record(tmp_path / "clean.jsonl", "review", {}, [clean], 2)
    assert lineage.states([clean, newer]) == {clean.id: "replaced", newer.id: "unchanged"}
    assert newer.files[0].previous == clean.id


def test_undo_and_undo_of_undo(chain: tuple[Version, Version, Version], tmp_path: Path) -> None:
    source, clean, _ = chain
    path = tmp_path / "clean.jsonl"
    back = undo(clean)
    assert (back.step, back.parents, back.rows, path.read_text()) == ("undo", (clean.id,), 3, "one\ntwo\ntwo\n")
    assert back.sha256 == source.sha256
    assert undo(back).sha256 == clean.sha256
    assert path.read_text() == "one\ntwo\n"
    with pytest.raises(UserError, match="nothing before it"):
        undo(source)


def test_undo_in_place_brings_the_users_file_back(tmp_path: Path) -> None:
    path = written(tmp_path / "data.csv", "q,a\n1,2\n")
    source = ensure_source(path)
    cleaned = record(written(path, "q,a\n"), "clean", {}, [source], 0)
    undo(cleaned)
    assert path.read_text() == "q,a\n1,2\n"
    with pytest.raises(UserError, match="nothing to undo"):
        undo(cleaned)


def test_undo_of_a_split_takes_its_files_away_and_brings_them_back(
    chain: tuple[Version, Version, Version], tmp_path: Path
) -> None:
    parted = chain[2]
    gone = undo(parted)
    assert gone.sha256 is None
    assert list((tmp_path / "parts").iterdir()) == []
    undo(gone)
    assert (tmp_path / "parts" / "train.jsonl").read_text() == "train\n"


def test_undo_of_a_format_does_not_put_a_table_under_the_name_of_json(tmp_path: Path) -> None:
    source = ensure_source(written(tmp_path / "a.csv", "q,a\n"))
    made = record(written(tmp_path / "a.jsonl", "{}\n"), "format", {}, [source], 1)
    undo(made)
    assert not (tmp_path / "a.jsonl").exists()


def test_a_file_changed_by_hand_is_refused_and_with_overwrite_kept(
    chain: tuple[Version, Version, Version], tmp_path: Path
) -> None:
    clean = chain[1]
    path = written(tmp_path / "clean.jsonl", "by hand\n")
    before = all_versions()
    with pytest.raises(UserError, match="by hand"):
        undo(clean)
    assert (path.read_text(), all_versions()) == ("by hand\n", before)
    back = undo(clean, overwrite=True)
    assert path.read_text() == "one\ntwo\ntwo\n"
    undo(back)
    assert path.read_text() == "by hand\n"


def test_of_a_large_source_only_the_hash_is_kept_and_undo_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(store, "LARGEST_COPY", 4)
    path = written(tmp_path / "big.jsonl", "large\n")
    source = ensure_source(path, largest=4)
    assert held(source) == b"large\n"
    cleaned = record(written(path, "x\n"), "clean", {}, [source], 1)
    with pytest.raises(UserError, match="too large to be copied"):
        undo(cleaned)
    assert path.read_text() == "x\n"


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_a_damaged_content_is_told_and_never_written(
    damage: str, chain: tuple[Version, Version, Version], tmp_path: Path
) -> None:
    source, clean, _ = chain
    assert source.sha256 is not None
    kept, other = (store.objects().place(str(version.sha256)) for version in (source, clean))
    if damage == "cut":
        kept.write_bytes(kept.read_bytes()[:-3])
    elif damage == "other":
        kept.write_bytes(other.read_bytes())
    else:
        kept.unlink()
    (tmp_path / "raw.jsonl").unlink()
    with pytest.raises(UserError, match=r"damaged|missing") as told:
        undo(clean)
    assert "\n" not in told.value.line()
    assert (tmp_path / "clean.jsonl").read_text() == "one\ntwo\n"
    ensure_source(written(tmp_path / "again.jsonl", "one\ntwo\ntwo\n"))  # keeping the content again heals it
    undo(clean)
    assert (tmp_path / "clean.jsonl").read_text() == "one\ntwo\ntwo\n"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"id": 1}', b"\xff\xfe", None])
def test_a_damaged_record_is_told(damage: bytes | None, chain: tuple[Version, Version, Version]) -> None:
    file = workspace() / "datasets" / "versions" / f"{chain[1].id}.json"
    file.write_bytes(file.read_bytes().replace(b"dup", b"pud") if damage is None else damage)
    with pytest.raises(UserError, match="damaged") as told:
        lineage.history()
    assert str(file) in told.value.line()
    file.unlink()
    assert lineage.missing_parents(lineage.history()) == [chain[1].id]


def test_parameters_of_any_kind_are_recorded_as_json(tmp_path: Path) -> None:
    parameters = {"path": tmp_path, "half": "a\ud800", "share": float("nan"), "list": (1, 2.5), "none": None}
    made = record(written(tmp_path / "a.jsonl", "1\n"), "format", parameters, rows=1)
    assert store.get(made.id) == made
    assert made.parameters == {"path": str(tmp_path), "half": "a?", "share": "NaN", "list": [1, 2.5], "none": None}


def test_columns_are_kept_with_a_version(chain: tuple[Version, Version, Version]) -> None:
    attach(chain[0], "difficulty", [{"line": 1, "difficulty": 0.5}])
    assert list(attached(chain[0], "difficulty")) == [{"line": 1, "difficulty": 0.5}]
    with pytest.raises(UserError, match="dificulty") as unknown:
        list(attached(chain[0], "dificulty"))
    assert '"difficulty"' in unknown.value.fix
    with pytest.raises(UserError, match="cannot name"):
        attach(chain[0], "../x", [])


def test_files_that_cannot_be_recorded(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(UserError):
            ensure_source(path)
    assert all_versions() == []


Steps = st.lists(st.tuples(st.sampled_from(["write", "undo", "edit"]), st.integers(0, 9)), max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(Steps)
def test_whatever_is_done_every_content_stays_and_the_chain_has_no_circle(
    monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, int]]
) -> None:
    with TemporaryDirectory() as name:
        monkeypatch.setenv("FINETUNE_HOME", str(Path(name) / "home"))
        paths = [Path(name) / "a.jsonl", Path(name) / "b.jsonl"]
        seen = {written(path, f"{path.name} source\n").read_bytes() for path in paths}
        made = [ensure_source(path) for path in paths]
        for number, (step, chosen) in enumerate(steps):
            path, version = paths[chosen % 2], made[chosen % len(made)]
            if step == "edit":
                written(path, f"by hand {number}\n")
                made.append(ensure_source(path))
            elif step == "write":
                written(path, f"{chosen}\n")
                made.append(record(path, "clean", {"step": number}, [version], 1))
            else:
                made += undone(version)
            seen |= {path.read_bytes() for path in paths if path.exists()}
        versions = all_versions()
        assert {each.id for each in versions} == {each.id for each in made}
        order = {each.id: place for place, each in enumerate(versions)}
        assert all(order[parent] < order[each.id] for each in versions for parent in each.parents)
        kept = {held(each) for each in versions if each.sha256}
        assert seen == kept


def undone(version: Version) -> list[Version]:
    """The undo; none where there is nothing before it, or it is undone already."""
    try:
        return [undo(version)]
    except UserError:
        return []


def test_two_records_of_the_same_instant_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "now", lambda: "2030-01-01T00:00:00.000000+00:00")
    path = written(tmp_path / "a.jsonl", "1\n")
    monkeypatch.setattr(store, "all_versions", list)  # neither sees the other
    assert record(path, "clean", {}, rows=1).id != record(path, "clean", {}, rows=1).id


def test_without_links_a_record_is_renamed_into_its_place(tmp_path: Path) -> None:
    def refuse(_: Path, __: Path) -> None:
        raise PermissionError(1, "no links here")

    target = tmp_path / "v" / "x.json"
    assert store._claim(target, "{}", refuse)
    assert not store._claim(target, "[]", refuse)
    assert (target.read_text(), list(target.parent.iterdir())) == ("{}\n", [target])


def test_the_tools_give_the_contracts_keys(chain: tuple[Version, Version, Version], tmp_path: Path) -> None:
    history = TOOLS["data_history"].call(path=tmp_path / "clean.jsonl")
    listed = json.loads(json.dumps(history.model_dump(mode="json")))["versions"]
    assert [each["id"] for each in listed] == [version.id for version in chain]
    assert listed[2]["parts"]["train"]["rows"] == 1
    assert all(version.id in history.text() for version in chain)
    written(tmp_path / "clean.jsonl", "other\n")
    assert "was changed since" in TOOLS["data_history"].call().text()
    with pytest.raises(UserError, match="by hand"):
        TOOLS["data_undo"].call(version=chain[1].id)
    undone = TOOLS["data_undo"].call(version=chain[1].id, overwrite=True)
    assert undone.model_dump(mode="json")["version"]["step"] == "undo"
    assert undone.version.id in undone.text()


def test_history_of_a_copied_and_of_an_unknown_file(chain: tuple[Version, Version, Version], tmp_path: Path) -> None:
    copy = written(tmp_path / "copy.jsonl", "one\ntwo\n")
    assert lineage.history(copy) == list(chain)
    assert lineage.history(written(tmp_path / "new.jsonl", "new\n")) == []
    assert lineage.history(Path(chain[1].id[:8])) == list(chain)
    with pytest.raises(UserError, match="no version"):
        lineage.history(tmp_path / "absent.jsonl")
    assert "No versions" in TOOLS["data_history"].call(path=tmp_path / "new.jsonl").text()


def chat(user: str, assistant: str) -> Row:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def test_diff_of_versions(tmp_path: Path) -> None:
    rows = [chat(f"question {i}", "yes" if i % 2 else "no") for i in range(10)]
    path = tmp_path / "a.jsonl"
    write_jsonl(path, rows)
    source = ensure_source(path)
    write_jsonl(path, [*rows[:4], rows[5], chat("Question  6", "maybe"), *rows[7:], chat("new", "yes")])
    made = record(path, "clean", {}, [source], 10)
    result = TOOLS["data_diff"].call(a=source.id[:8], b=str(path))
    found = result.diff
    assert [found[key] for key in ("same", "added", "removed", "changed", "reordered")] == [8, 1, 1, 1, 0]
    (example,) = found["examples"]["changed"]
    assert (example["a"], example["b"]) == ({"file": "a.jsonl", "line": 7}, {"file": "a.jsonl", "line": 6})
    assert found["examples"]["removed"][0]["question"] == "question 4"
    assert found["labels"]["a"] == {"no": 5, "yes": 5}
    assert result.text().startswith("**1 removed, 1 added, 1 changed**, 8 the same")
    assert "No difference" in TOOLS["data_diff"].call(a=made.id, b=str(path)).text()
    assert not list((workspace() / "datasets").glob("temporary/*"))
