"""Hosted jobs through the command line and the real SDK: from the price to the model, one job whatever is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Answer
from hosted_server import STEPS, Hosted, Provider

from executor.errors import UsageError
from executor.hosted import ledger
from executor.hosted.registry import ProviderName, address, place
from knowledge.load import fact
from tools.hosted import SubmitArgs, order_of

pytest_plugins = ["hosted_kit"]


def test_a_job_from_its_price_to_its_tuned_model(server: Provider, hosted: Hosted, submit: Hosted, rows: Path) -> None:
    more = ("--n-epochs", 2, "--batch-size", 4, "--learning-rate-multiplier", 1.5, "--seed", 7, "--suffix", "kinds")
    told = hosted("estimate", rows, "--provider", "openai", *more, "--json", at=server).json
    cost, price = told["estimate"]["cost_usd"], fact("prices", "openai.gpt-4o-mini.train")
    assert 0 < cost["low"] <= cost["expected"] <= cost["high"]
    assert told["estimate"]["price"]["source"] == list(price.source)
    assert told["estimate"]["billed_tokens"]["low"] == 2 * told["estimate"]["tokens"]["low"]
    assert (told["job"], told["status"], told["events"]) == (None, None, None)
    assert server.said == [], "an estimate asks nobody"
    made = submit(server, *more)
    assert made.code == 0, made.err
    assert made.json["created"] is True
    assert made.json["events"] is None
    job = made.json["job"]["id"]
    sent = server.asked("POST", "/fine_tuning/jobs")[0].sent
    given = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.5}
    assert sent["method"] == {"type": "supervised", "supervised": {"hyperparameters": given}}
    assert (sent["seed"], sent["suffix"]) == (7, "kinds")
    assert server.contents[sent["training_file"]] == rows.read_bytes()
    end = hosted("watch", job, "--every", 0, "--json")
    assert end.code == 0, end.err
    result = end.json
    assert result["status"] == "succeeded"
    assert [event["id"] for event in result["events"]] == [event["id"] for event in server.events[job]]
    assert len(result["metrics"]) == STEPS
    assert [point["step"] for point in result["checkpoints"]] == [15, 30, 45]
    assert end.err.count("Created fine-tuning job") == 1
    assert end.err.count(f"Step {STEPS}/{STEPS}") == 1
    assert result["model"] in result["evaluate"]
    assert result["evaluate"].startswith(f"finetune evaluate --endpoint {server.url} --model ft:")
    assert "--key-env MY_KEY" in result["evaluate"]
    again = hosted("watch", "--every", 0, "--json").json
    assert again["events"] == result["events"], "watching may begin at any time"
    assert job in hosted("list", "--json").json["jobs"][0]["id"]


def test_the_command_that_it_gives_measures_the_tuned_model(
    server: Provider, hosted: Hosted, submit: Hosted, rows: Path, finetune: Callable[..., Answer], tiny_model: Path,
    jobs_here: None, tmp_path: Path, said: list[str],
) -> None:  # fmt: skip
    assert finetune("data", "split", rows, "-o", tmp_path / "parts", "--json").code == 0
    refused = submit(server, data=tmp_path / "parts" / "test.jsonl")
    assert refused.code == 3
    assert "sealed test part" in refused.json["error"]["what"]
    assert server.said == []
    job = submit(server, data=tmp_path / "parts" / "train.jsonl").json["job"]["id"]
    command = hosted("watch", job, "--every", 0, "--json").json["evaluate"].split()
    assert command[-1] == str(tmp_path / "parts" / "test.jsonl")
    verdict = finetune(*command[1:], "--base-model", tiny_model, "--json")
    said.extend([verdict.out, verdict.err])
    assert verdict.code in (0, 1), verdict.err + verdict.out
    assert verdict.json["verdict"]
    assert any(score["task_accuracy"]["value"] == 1.0 for score in verdict.json["scores"].values())
    assert server.asked("POST", "/chat/completions")[0].sent["model"].startswith("ft:")


def test_it_asks_before_it_spends(
    server: Provider, hosted: Hosted, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("submit", rows, "--provider", "openai")
    nobody = hosted(*words, "--json", at=server)
    assert nobody.code == 2
    assert nobody.json["error"]["where"] == "--yes"
    for told in ("rows of rows.jsonl", "127.0.0.1", "USD", "openai-finetuning-price", "read on", "tokens"):
        assert told in nobody.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *words, **more: False)
    assert hosted(*words, at=server).code == 130
    assert server.said == []
    monkeypatch.setattr("typer.confirm", lambda *words, **more: True)
    assert hosted(*words, at=server).code == 0
    assert len(server.jobs) == 1
    monkeypatch.setattr("typer.confirm", lambda *words, **more: pytest.fail("nothing is spent: nobody is asked"))
    assert "equal job" in hosted(*words, at=server).out


def test_an_equal_order_is_the_same_job(server: Provider, hosted: Hosted, submit: Hosted, rows: Path) -> None:
    server.still = True
    first = submit(server).json
    same = submit(server)
    assert (same.code, same.json["created"]) == (0, False)
    assert same.json["job"]["id"] == first["job"]["id"]
    assert submit(server, "--n-epochs", 1).json["created"] is True, "other settings are another order"
    assert submit(server, "--again").json["created"] is True
    assert submit(server).json["job"]["id"] == first["job"]["id"]
    assert len(server.jobs) == 3
    assert len(server.files) == 1, "the same rows are uploaded once"
    assert hosted("cancel", first["job"]["id"], "--yes", "--json").json["status"] == "cancelled"
    assert submit(server).json["job"]["id"] == server.jobs[2]["id"], "what was cancelled is past; the next one counts"
    for file in ledger.folder().glob("*.json"):
        file.unlink()
    assert submit(server, "--n-epochs", 1).json["created"] is False, "without the ledger the provider knows"
    assert len(server.jobs) == 3


def test_a_server_spelled_otherwise_is_the_same_server(
    server: Provider, hosted: Hosted, submit: Hosted, rows: Path
) -> None:
    first = submit(server)
    assert first.json["created"] is True
    port = server.port
    for url in (f"HTTP://127.0.0.1:{port}//v1/", f"http://localhost:{port}/v1", f"http://127.0.0.1:{port}/v1#x"):
        words = ("submit", rows, "--provider", "openai", "--base-url", url, "--key-env", "MY_KEY", "--yes", "--json")
        assert hosted(*words).json["created"] is False, url
    assert len(server.jobs) == 1


@pytest.mark.parametrize(
    ("provider", "urls"),
    [
        ("openai", ("https://API.openai.com:443/v1", "https://api.openai.com./v1/", "https://api.openai.com/v1#a")),
        ("together", ("https://api.together.ai/v1", "https://api.together.xyz//v1")),
    ],
)
def test_a_provider_s_own_servers_are_one_place(provider: ProviderName, urls: tuple[str, ...]) -> None:
    assert {place(provider, address(provider, url)) for url in (None, *urls)} == {provider}
    other = "https://example.invalid:8443/v1"
    assert place(provider, address(provider, other.upper().replace("/V1", "/v1"))) == other
    with pytest.raises(UsageError):
        address(provider, "https://example.invalid:99999999/v1")


def test_a_job_is_ended(server: Provider, hosted: Hosted, submit: Hosted) -> None:
    server.still = True
    job = submit(server).json["job"]["id"]
    assert hosted("cancel", job).code == 2, "nobody can be asked"
    assert server.jobs[0]["status"] == "validating_files"
    done = hosted("cancel", job, "--yes", "--json")
    assert (done.code, done.json["status"]) == (0, "cancelled")
    assert len(server.asked("POST", f"/fine_tuning/jobs/{job}/cancel")) == 1
    twice = hosted("cancel", job, "--yes", "--json")
    assert (twice.code, twice.json["status"]) == (0, "cancelled")
    assert len(server.asked("POST", f"/fine_tuning/jobs/{job}/cancel")) == 1
    watched = hosted("watch", job, "--json")
    assert (watched.code, watched.json["status"], watched.json["model"]) == (1, "cancelled", None)
    assert "cancelled" in watched.json["events"][-1]["message"]


@pytest.mark.parametrize("path", ["/fine_tuning/jobs", "/files"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_connection_makes_no_second_job(server: Provider, submit: Hosted, path: str, when: str) -> None:
    server.loses = {path: when}
    first = submit(server)
    assert first.code == (0 if when == "after" else 4), first.out
    second = submit(server)
    assert (second.code, second.json["created"]) == (0, when == "before")
    assert len(server.asked("POST", "/fine_tuning/jobs")) == 1
    assert len(server.asked("POST", "/files")) == 1


@pytest.mark.parametrize("marks", [True, False])
def test_a_job_whose_answer_was_lost_is_adopted_later(server: Provider, submit: Hosted, marks: bool) -> None:
    """Where the provider cannot be asked at once; and where it forgets the mark too, by the file."""
    server.marks = marks
    assert submit(server, "--n-epochs", 1).code == 0
    server.loses = {"/fine_tuning/jobs": "after"}
    down = list_fails_after_create(server)
    lost = submit(server)
    assert lost.code == 4
    assert "it looks for the job before it creates one" in lost.json["error"]["fix"]
    down.clear()
    server.down = False
    found = submit(server)
    assert (found.code, found.json["created"]) == (0, False)
    assert found.json["job"]["id"] == server.jobs[1]["id"]
    assert len(server.asked("POST", "/fine_tuning/jobs")) == 2
    assert len(server.jobs) == 2


def test_a_job_that_is_listed_late_is_waited_for(server: Provider, submit: Hosted) -> None:
    server.loses, server.hides = {"/fine_tuning/jobs": "after"}, 9
    assert submit(server).code == 4
    assert server.hides == 6, "looked for by its key, and by its file"
    found = submit(server)
    assert (found.code, found.json["created"]) == (0, False), found.out
    assert server.hides == 0
    assert len(server.asked("POST", "/fine_tuning/jobs")) == 1


def test_a_second_job_on_purpose_is_made_once_too(server: Provider, submit: Hosted) -> None:
    assert submit(server).code == 0
    server.loses = {"/fine_tuning/jobs": "after"}
    down = list_fails_after_create(server)
    assert submit(server, "--again").code == 4
    down.clear()
    server.down = False
    found = submit(server, "--again")
    assert (found.code, found.json["created"]) == (0, False)
    assert len(server.jobs) == 2
    assert submit(server, "--again").json["created"] is True


def list_fails_after_create(server: Provider) -> list[bool]:
    """The server answers no reads from the moment a job is created."""
    armed, create = [True], server.create

    def creating(sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        server.down = bool(armed)
        return create(sent)

    server.create = creating  # type: ignore[method-assign]
    return armed


@pytest.mark.parametrize(
    ("path", "done"), [("/files", True), ("/fine_tuning/jobs", False), ("/fine_tuning/jobs", True)]
)
def test_a_killed_submit_is_finished_by_the_next(
    server: Provider, submit: Hosted, rows: Path, tmp_path: Path, path: str, done: bool, said: list[str]
) -> None:
    """Killed while it uploads, before the job is made, and after it was made but not answered."""
    server.holds, server.done_first = path, done
    words = ["submit", str(rows), "--provider", "openai", "--base-url", server.url, "--key-env", "MY_KEY", "--yes"]
    process = started(words, tmp_path)
    assert server.reached.wait(60)
    process.kill()
    said.extend(process.communicate(timeout=60))
    server.release.set()
    end = submit(server)
    assert end.code == 0, end.out
    assert (len(server.jobs), len(server.files)) == (1, 1)
    assert len(server.asked("POST", "/fine_tuning/jobs")) == 1
    assert end.json["created"] is not (done and path != "/files")


def started(words: list[str], tmp_path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FINETUNE_HOME": str(tmp_path / "home")}
    return subprocess.Popen(
        [sys.executable, "-m", "agent", "hosted", *words], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_ctrl_c_leaves_the_job_alone(
    server: Provider, hosted: Hosted, submit: Hosted, tmp_path: Path, said: list[str]
) -> None:
    job = submit(server).json["job"]["id"]
    process = started(["watch", job, "--every", "600"], tmp_path)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "Created fine-tuning job" in first
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    said.extend([out, first, err])
    assert process.returncode == 130
    assert f"finetune hosted watch {job}" in err
    assert server.jobs[0]["status"] == "queued"
    assert hosted("watch", job, "--every", 0, "--json").json["status"] == "succeeded"


def test_two_at_once_are_not_two_jobs(server: Provider, submit: Hosted, rows: Path) -> None:
    found = order_of(SubmitArgs(data=str(rows), provider="openai", base_url=server.url, key_env="MY_KEY"))
    with ledger.alone(found.order):
        other = submit(server)
    assert other.code == 3
    assert "another process" in other.json["error"]["what"]
    assert server.jobs == []
