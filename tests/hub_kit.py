"""A hub on loopback, a tuned run and a push, for the tests of both the push and its terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer
from hub_server import TOKEN, Hub, hub_serving
from huggingface_hub import constants

from executor.licence_spec import LicenceSpec
from executor.run_folder import RunFolder
from executor.spec import save_spec

NewRun = Callable[..., RunFolder]
Cli = Callable[..., Answer]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_serving() as state:
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-login"))
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        yield state


def pushed(finetune: Cli, run: RunFolder, out: Path, *more: object) -> Answer:
    return finetune("export", run.name, "--to", "hub", "-o", out, "--repo", "me/tickets", "--yes", "--json", *more)


def everything_written(*folders: Path) -> str:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert files
    return "".join(file.read_bytes().decode("latin-1") for file in files)


def base_of(run: RunFolder, name: str, value: Any) -> None:
    spec = run.spec()
    save_spec(spec.model_copy(update={"model": spec.model.model_copy(update={name: value})}), run.path / "spec.yaml")


def stated(run: RunFolder, data: str | None, base: str | None = "apache-2.0") -> None:
    """The run as if its rows' licence had been said when it was made."""
    base_of(run, "licence", base)
    save_spec(run.spec().model_copy(update={"licences": LicenceSpec(data=data)}), run.path / "spec.yaml")
