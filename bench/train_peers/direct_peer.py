"""Our training on the device at hand, without plan and stages: predicted first, then `executor.train` in process."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from common import read_job, read_rows, report

from executor.data.prepare import Prepared
from executor.files import sha256_rows
from executor.hardware import hardware
from executor.prepare_model import in_four_bits
from executor.run_folder import RunFolder, create_run
from executor.spec import STAGES, DataSpec, RunSpec, TrainSpec
from executor.template import ChatTemplate
from tools.base_model import resolve_model
from tools.prediction import predict


def spec_of(job: dict[str, Any]) -> RunSpec:
    settings = {key: job[key] for key in ("method", "steps", "batch_size", "learning_rate", "max_length", "seed")}
    train = TrainSpec(**settings, epochs=job["epochs"], dtype=job["dtype"], threads=hardware().cores)
    return RunSpec(
        kind="train",
        stages=STAGES["train"],
        model=resolve_model(job["model"]),
        data=DataSpec(path=job["train"], version="0" * 64),
        train=train,
    )


def trained(run: RunFolder, spec: RunSpec, model: str) -> dict[str, Any]:
    import torch

    from executor.train.loop import train
    from executor.train.model import to_train

    torch.set_num_threads(spec.train.threads)
    folder = Path(model)
    if spec.train.method == "qlora":
        folder = in_four_bits(folder, lambda line: None)
    return train(to_train(folder, spec), run, spec, ChatTemplate(folder), lambda done, total, unit: None, lambda: False)


def main() -> None:
    job = read_job()
    os.environ |= {"FINETUNE_HOME": f"{job['out']}/home", "FINETUNE_CACHE": job["cache"]}
    spec, rows = spec_of(job), read_rows(job["train"])
    predicted = predict(spec.model, cast(Prepared, SimpleNamespace(train=rows)), spec.lora, spec.train)
    sealed = {"train": {"rows": len(rows), "sha256": sha256_rows(rows)}}
    record = {"version": spec.data.version, "splits": sealed, "source": {}, "lineage": []}
    run = create_run(spec, {"train": rows}, record)
    metrics = trained(run, spec, job["model"])
    first = next((line["seconds"] for line in run.metrics() if line["step"] == job["skip"]), 0.0)
    report(
        seconds=metrics["seconds"],
        warm_seconds=metrics["seconds"] - first,
        peak_mib=metrics["peak_memory_bytes"] >> 20,
        tokens=metrics["tokens"],
        micro_batch=metrics["micro_batch"],
        predicted=predicted,
    )


if __name__ == "__main__":
    main()
