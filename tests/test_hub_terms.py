"""What may be pushed: a chain that is blocked or that nobody read, a name, and where a token may go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Answer
from hub_kit import base_of, everything_written, pushed, stated
from hub_server import TOKEN, Hub, Repo
from huggingface_hub import ModelCard

from executor.errors import ServiceError
from executor.export.hub import push
from executor.hub_spec import HubSpec
from executor.run_folder import RunFolder
from tools.export import ExportArgs, plan_export

pytest_plugins = ["hub_kit"]
Cli = Callable[..., Answer]


def test_a_blocked_chain_is_written_here_and_pushed_only_with_a_reason(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None
) -> None:
    base_of(run, "licence", "cc-by-nd-4.0")
    here = finetune("export", run.name, "--to", "merged", "-o", tmp_path / "merged", "--json")
    assert here.code == 0, here.out
    assert "no adapted material" in here.json["licences"][0]
    answer = pushed(finetune, run, tmp_path / "out")
    assert answer.code == 3
    assert "may not be passed on" in answer.json["error"]["what"]
    assert hub.asked == []
    answer = pushed(finetune, run, tmp_path / "out", "--licence-checked", "the owner agreed in writing")
    assert answer.code == 0, answer.out
    assert "the owner agreed in writing" in hub.repos["me/tickets"].files["README.md"].decode()


@pytest.mark.parametrize(
    "data", ["CC BY-NC-ND 4.0", "https://creativecommons.org/licenses/by-nd/4.0/", "cc-by-nd-3.0-igo"]
)
def test_a_spelling_does_not_let_a_blocked_chain_out(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None, data: str
) -> None:
    stated(run, data)
    for more in ((), ("--public",), ("--licence-checked", "   "), ("--licence-checked", " x ")):
        answer = pushed(finetune, run, tmp_path / "out", *more)
        assert answer.code == (2 if "--licence-checked" in more else 3), answer.out
    assert hub.asked == []


@pytest.mark.parametrize("data", ["proprietary", "gpl-3.0", None])
def test_what_nobody_read_is_for_everyone_only_with_a_reason(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None, data: str | None
) -> None:
    stated(run, data)
    answer = pushed(finetune, run, tmp_path / "out", "--public")
    assert answer.code == 3, answer.out
    assert "Whether everyone may have it is not known" in answer.json["error"]["what"]
    assert hub.asked == []
    plan = plan_export(ExportArgs(run=run.name, to="hub", out=str(tmp_path / "out"), repo="me/tickets"))
    assert "**Warning.** What licence it may carry is not known" in plan
    assert pushed(finetune, run, tmp_path / "out").code == 0, "private: a warning"
    card = ModelCard(hub.repos["me/tickets"].files["README.md"].decode())
    assert (card.data.license, card.data.license_name) == ("other", "not-known")
    assert "What licence it can carry is not known" in card.text
    hub.repos.clear()
    answer = pushed(finetune, run, tmp_path / "out", "--public", "--licence-checked", " the rows are our own ")
    assert answer.code == 0, answer.out
    repo = hub.repos["me/tickets"]
    assert not repo.private
    assert "for this reason: the rows are our own" in repo.files["README.md"].decode()


def test_a_llama_has_a_name_that_begins_with_llama(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None
) -> None:
    stated(run, "cc-by-4.0", "llama3.1")
    answer = pushed(finetune, run, tmp_path / "out")
    assert answer.code == 3
    assert answer.json["error"]["fix"] == "Push it as me/Llama-tickets."
    named = finetune(
        "export", run.name, "--to", "hub", "-o", tmp_path / "out", "--repo", "me/Llama-tickets", "--yes", "--json"
    )
    assert named.code == 0, named.out
    card = ModelCard(hub.repos["me/Llama-tickets"].files["README.md"].decode())
    assert card.data.license == "llama3.1"
    assert "Built with Llama." in card.text


def test_another_hub_is_given_the_token_that_is_named_for_it(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a real run process: the variable is the one secret beside HF_TOKEN that it is given."""
    elsewhere = hub.url
    monkeypatch.setenv("HF_ENDPOINT", "https://own.example")
    monkeypatch.setenv("HF_TOKEN", "hf_not_for_others")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("TOKEN_OF_OTHER", TOKEN)
    answer = pushed(finetune, run, tmp_path / "out", "--hub-url", elsewhere)
    assert answer.code == 3, answer.out
    assert answer.json["error"]["what"].startswith("Which token is for 127.0.0.1?")
    assert hub.tokens == set()
    named = ("--hub-url", elsewhere, "--token-env", "TOKEN_OF_OTHER")
    assert pushed(finetune, run, tmp_path / "out", *named[:3], "no name").code == 2
    answer = pushed(finetune, run, tmp_path / "out", *named)
    assert answer.code == 0, answer.out
    assert TOKEN in hub.tokens
    assert "hf_not_for_others" not in hub.tokens
    assert TOKEN not in answer.out + answer.err + everything_written(tmp_path)


@pytest.mark.parametrize("odd", [{}, [], None, "yes"])
@pytest.mark.parametrize("ending", ["/api/models/me/tickets", "/commit/main"])
def test_an_answer_that_is_none_of_a_hub_is_the_service_s_fault(
    hub: Hub, tmp_path: Path, ending: str, odd: object
) -> None:
    hub.repos["me/tickets"] = Repo(private=True)
    (tmp_path / "README.md").write_text("---\n---\n")
    hub.odd[ending] = odd
    with pytest.raises(ServiceError) as failed:
        push(tmp_path, HubSpec(repo="me/tickets", endpoint=hub.url), print, "again")
    assert failed.value.exit_code == 4
    assert TOKEN not in str(failed.value)
