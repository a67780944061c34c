"""Training by Ray's workers on a local Ray: the result of one process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest

from executor.__main__ import main
from executor.files import read_json, read_jsonl
from executor.place import Place, save_place
from executor.run_folder import RunFolder
from executor.train.checkpoint import checkpoints

NewRun = Callable[..., RunFolder]
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'")


def lines(run: RunFolder, key: str) -> dict[int, float]:
    return {line["step"]: line[key] for line in read_jsonl(run.metrics_file) if key in line}


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_a_missing_ray_is_told_in_a_line(new_run: NewRun) -> None:
    run = new_run()
    save_place(Place(processes=2, launcher="ray"), run.path)
    assert main(str(run.path)) == 3
    assert "Ray is not installed" in run.status()["reason"]
    assert "[ray]" in run.status()["error"]["fix"]


@needs_ray
def test_two_ray_workers_train_what_one_process_trains(new_run: NewRun) -> None:
    settings = {"steps": 20, "evaluate_every": 10, "threads": 2}
    alone, shared = new_run(**settings), new_run(**settings)
    assert main(str(alone.path)) == 0
    save_place(Place(processes=2, launcher="ray"), shared.path)
    assert main(str(shared.path)) == 0, shared.status()
    for key, count in (("loss", 20), ("eval_loss", 3)):
        assert len(lines(alone, key)) == count
        assert lines(shared, key) == pytest.approx(lines(alone, key), rel=1e-5)
    assert (shared.adapter / "adapter_model.safetensors").exists()
    assert read_json(shared.path / "result.json")["metrics"]["steps"] == 20
    assert not list(shared.path.glob(".*"))


@needs_ray
def test_a_training_that_was_stopped_on_ray_goes_on_here(new_run: NewRun) -> None:
    """The spec does not change with the place, so the end is that of an undisturbed training on this host."""
    settings = {"steps": 400, "checkpoint_every": 10, "evaluate_every": 200, "threads": 2}
    undisturbed, run = new_run(**settings), new_run(**settings)
    for place in (undisturbed, run):
        save_place(Place(processes=2), place.path)
    assert main(str(undisturbed.path)) == 0
    save_place(Place(processes=2, launcher="ray"), run.path)

    def stop() -> None:
        end = time.monotonic() + 60
        while not checkpoints(run.checkpoints) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as beside:
        beside.submit(stop)
        assert main(str(run.path)) == 130
    assert run.status()["state"] == "stopped"
    assert max(step for step, _ in checkpoints(run.checkpoints)) == max(lines(run, "loss")) < 400
    assert not list(run.path.glob(".*"))
    save_place(Place(processes=2), run.path)
    assert main(str(run.path)) == 0
    assert lines(run, "loss") == pytest.approx(lines(undisturbed, "loss"), rel=1e-5)
