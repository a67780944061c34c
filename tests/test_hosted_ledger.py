"""Hosted jobs: what the ledger tells of jobs that ended, a damaged one, and servers that answer for another job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hosted_server import Hosted, Provider

from executor.hosted import ledger

pytest_plugins = ["hosted_kit"]


def test_what_was_cancelled_is_made_again_only_on_purpose(
    server: Provider, hosted: Hosted, submit: Hosted, rows: Path
) -> None:
    job = submit(server).json["job"]["id"]
    server.still = True
    other = hosted("cancel", job, "--provider", "together", "--yes", "--json")
    assert other.code == 3
    assert "is at OpenAI" in other.json["error"]["what"]
    assert server.jobs[0]["status"] == "validating_files"
    assert hosted("cancel", job, "--provider", "openai", "--yes").code == 0
    refused = submit(server)
    assert refused.code == 3
    assert f"{job}, was cancelled" in refused.json["error"]["what"]
    assert "--again" in refused.json["error"]["fix"]
    made = submit(server, "--again")
    assert made.json["created"] is True
    assert f"`{job}`, was submitted before and was cancelled" in made.err
    server.jobs[1] |= {"status": "failed", "error": {"code": "x", "message": "bad rows", "param": None}}
    third = submit(server)
    assert third.json["created"] is True, "a failed job is tried again"
    assert f"`{made.json['job']['id']}`, was submitted before and failed" in third.err
    assert "pays for another" in third.err


def test_a_ledger_that_cannot_be_written_names_the_job_that_costs(
    server: Provider, hosted: Hosted, submit: Hosted
) -> None:
    create, place, away = server.create, ledger.folder(), ledger.folder().with_name("away")

    def creating(sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        place.rename(away)
        place.write_text("")
        return create(sent)

    server.create = creating  # type: ignore[method-assign]
    lost = submit(server)
    assert lost.code == 3
    assert f"The job {server.jobs[0]['id']} was created at 127.0.0.1 and costs" in lost.json["error"]["what"]
    end = f"finetune hosted cancel {server.jobs[0]['id']} --provider openai --base-url {server.url} --key-env MY_KEY"
    assert end in lost.json["error"]["fix"]
    server.create = create  # type: ignore[method-assign]
    place.unlink()
    away.rename(place)
    assert submit(server).json["created"] is False
    assert len(server.jobs) == 1


def test_a_job_under_another_id_is_refused(server: Provider, hosted: Hosted, submit: Hosted) -> None:
    job = submit(server).json["job"]["id"]
    route = server.route

    def another(method: str, path: str, *more: Any) -> tuple[int, Any]:
        status, body = route(method, path, *more)
        return (status, {**body, "id": "ftjob-77"}) if path == f"/fine_tuning/jobs/{job}" else (status, body)

    server.route = another  # type: ignore[method-assign]
    for words in (("watch", job, "--once"), ("cancel", job, "--yes")):
        refused = hosted(*words, "--json")
        assert refused.code == 4
        assert "ftjob-77" in refused.json["error"]["what"]
    assert server.asked("POST", f"/fine_tuning/jobs/{job}/cancel") == []


def test_the_list_is_the_ledger_unless_a_server_is_named(
    server: Provider, hosted: Hosted, submit: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(server).json["job"]["id"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abc")
    monkeypatch.setattr("tools.hosted.connect", lambda *words: pytest.fail("no server was named"))
    asked = len(server.said)
    assert [row["id"] for row in hosted("list", "--json").json["jobs"]] == [job]
    assert len(server.said) == asked


def test_what_is_known_here_is_listed_though_the_server_fails(server: Provider, hosted: Hosted, submit: Hosted) -> None:
    job = submit(server).json["job"]["id"]
    (ledger.folder() / "torn.json").write_text("{")
    server.down = True
    told = hosted("list", "--provider", "openai", "--json", at=server)
    assert told.code == 4
    assert [row["id"] for row in told.json["jobs"]] == [job]
    assert "torn.json" in told.json["warnings"][0]
    assert "503" in told.json["warnings"][1]
    server.down = False
    assert hosted("list", "--provider", "openai", at=server).code == 0
