"""Pushing to a hub: the real client, a hub on loopback; private, in one commit, once, and never a token on disk."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Answer, Finished, command
from hub_kit import everything_written, pushed
from hub_server import TOKEN, Hub, Repo
from huggingface_hub import EvalResult, ModelCard, constants

from executor.__main__ import main
from executor.files import read_json, sha256_file
from executor.hub_spec import endpoint_of, token_for
from executor.run_folder import RunFolder, all_runs
from tools.base import UserError

pytest_plugins = ["hub_kit"]
NewRun = Callable[..., RunFolder]
Cli = Callable[..., Answer]


def test_an_adapter_is_pushed_private_in_one_commit_with_its_card(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None
) -> None:
    answer = pushed(finetune, run, tmp_path / "out")
    assert answer.code == 0, answer.out + answer.err
    found, repo = answer.json, hub.repos["me/tickets"]
    assert repo.private
    assert len(repo.commits) == 2, "the empty repository, and one commit"
    assert (found["target"], found["path"]) == ("hub", str(tmp_path / "out"))
    assert (found["url"], found["commit"]) == (f"{hub.url}/me/tickets", repo.sha)
    assert found["equivalence"]["equal"] is True
    assert found["equivalence"]["same_outputs"] == found["equivalence"]["prompts"] == 12
    here = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert {name: data for name, data in repo.files.items() if name != ".gitattributes"} == here
    assert sha256_file(tmp_path / "out" / "adapter_model.safetensors") == sha256_file(
        run.adapter / "adapter_model.safetensors"
    )
    config = json.loads(repo.files["adapter_config.json"])
    assert config["base_model_name_or_path"] == "tiny", "no folder of this machine"
    assert str(tmp_path) not in everything_written(tmp_path / "out")
    assert f"hub {hub.url}/me/tickets" in (run.path / "report.md").read_text()


def test_the_token_is_in_no_file_and_no_output(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None
) -> None:
    answer = pushed(finetune, run, tmp_path / "out")
    assert TOKEN in hub.tokens, "it was sent"
    assert TOKEN not in answer.out + answer.err + everything_written(tmp_path)
    hub.deny["/commit/main"] = 500
    run.note("more")
    (run.path / "exports.jsonl").write_text('{"target": "merged", "equivalence": {"equal": true}}\n')
    failed = pushed(finetune, run, tmp_path / "out")
    assert failed.code == 4
    assert TOKEN not in failed.out + failed.err + everything_written(tmp_path)


def test_a_second_push_of_the_same_makes_no_commit_and_another_run_one(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None
) -> None:
    first = pushed(finetune, run, tmp_path / "out").json
    again = pushed(finetune, run, tmp_path / "out").json
    assert (again["commit"], len(hub.repos["me/tickets"].commits)) == (first["commit"], 2)
    merged = pushed(finetune, run, tmp_path / "merged", "--form", "merged")
    assert merged.code == 0, merged.out
    repo = hub.repos["me/tickets"]
    assert len(repo.commits) == 3
    assert "model.safetensors" in repo.files
    assert not [name for name in repo.files if name.startswith("adapter")], "files of the other form are gone"
    assert str(tmp_path) not in everything_written(tmp_path / "merged")


@pytest.mark.parametrize("lost", ["lfs", "commit", "reply"])
def test_a_push_that_loses_its_connection_goes_on_to_exactly_one_commit(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None, lost: str
) -> None:
    """`reply`: the hub committed, and its answer never came."""
    hub.lose = {lost}
    answer = pushed(finetune, run, tmp_path / "out")
    assert answer.code == 4, answer.out
    assert "finetune train --resume" in answer.json["error"]["fix"]
    assert len(hub.repos["me/tickets"].commits) == (2 if lost == "reply" else 1)
    hub.lose = set()
    exported = next(each for each in all_runs() if each.spec().kind == "export")
    resumed = finetune("train", "--resume", exported.name, "--json")
    assert resumed.code == 0, resumed.out
    assert len(hub.repos["me/tickets"].commits) == 2
    assert resumed.json["commit"] == hub.repos["me/tickets"].sha
    assert pushed(finetune, run, tmp_path / "out").json["commit"] == resumed.json["commit"]
    assert len(hub.repos["me/tickets"].commits) == 2


@pytest.mark.parametrize(
    ("ending", "status", "code", "says"),
    [
        ("/whoami-v2", 401, 3, "does not know the token"),
        ("/repos/create", 403, 3, "may not write to me/tickets"),
        ("/preupload/main", 403, 3, "may not write to me/tickets"),
        ("/commit/main", 412, 3, "changed by somebody else"),
        ("/commit/main", 503, 4, "The hub failed (503)"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None,
    ending: str, status: int, code: int, says: str,
) -> None:  # fmt: skip
    hub.deny[ending] = status
    answer = pushed(finetune, run, tmp_path / "out")
    assert answer.code == code, answer.out
    assert says in answer.json["error"]["what"]
    assert all(len(repo.commits) == 1 for repo in hub.repos.values()), "nothing is visible"


def test_a_name_that_is_taken_by_something_else_is_left_alone(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None
) -> None:
    hub.repos["me/tickets"] = Repo(private=True, commits=[{"README.md": b"---\ntags: [theirs]\n---\n"}])
    answer = pushed(finetune, run, tmp_path / "out")
    assert answer.code == 3
    assert "is taken" in answer.json["error"]["what"]
    hub.repos["me/tickets"] = Repo(private=False)
    answer = pushed(finetune, run, tmp_path / "out")
    assert "is public, and this push is to be private" in answer.json["error"]["what"]
    assert [len(repo.commits) for repo in hub.repos.values()] == [1]


def test_nothing_is_pushed_that_does_not_answer_the_same(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, jobs_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault: one byte of the copied weights is not the adapter's."""
    from executor import stage_export

    honest = stage_export.adapter_files

    def damaged(tuned: Path, work: Path, base: str) -> None:
        honest(tuned, work, base)
        weights = bytearray((work / "adapter_model.safetensors").read_bytes())
        weights[-1] ^= 1
        (work / "adapter_model.safetensors").write_bytes(weights)

    monkeypatch.setattr(stage_export, "adapter_files", damaged)
    answer = pushed(finetune, run, tmp_path / "out")
    assert answer.code == 1, answer.out
    assert answer.json["equivalence"]["reasons"] == ["Bytes: adapter_model.safetensors is not what the training left."]
    assert (answer.json["url"], answer.json["commit"], hub.asked) == (None, None, [])


def test_it_asks_first_and_checks_what_can_be_checked_before_anything_runs(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("export", run.name, "--to", "hub", "-o", tmp_path / "out", "--json")
    unasked = finetune(*words, "--repo", "me/tickets")
    assert (unasked.code, unasked.json["error"]["fix"]) == (3, "Add --yes to agree.")
    assert unasked.json["error"]["what"] == "This pushes to me/tickets at 127.0.0.1"
    assert finetune(*words, "--yes").code == 2, "no repository"
    assert finetune(*words, "--yes", "--repo", "../tickets").code == 2
    assert finetune("export", run.name, "--to", "merged", "-o", tmp_path / "out", "--public", "--json").code == 2
    far = finetune(*words, "--yes", "--repo", "me/tickets", "--hub-url", "http://hub.example")
    assert "unencrypted" in far.json["error"]["what"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in finetune(*words, "--yes", "--repo", "me/tickets").json["error"]["what"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("HF_TOKEN")
    assert "no token" in finetune(*words, "--yes", "--repo", "me/tickets").json["error"]["what"]
    assert hub.asked == []
    assert len(all_runs()) == 1, "no export was started"


def test_a_person_at_a_terminal_is_shown_the_plan_and_may_say_no(
    hub: Hub, run: RunFolder, finetune: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    answer = finetune("export", run.name, "--to", "hub", "-o", tmp_path / "out", "--repo", "me/tickets")
    assert answer.code == 130
    assert "Pushes the adapter" in answer.err
    assert "Push to me/tickets at 127.0.0.1?" in answer.err
    assert (hub.asked, len(all_runs())) == ([], 1)


def test_a_login_goes_to_its_own_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN")
    login = tmp_path / "login"
    login.write_text("hf_of_the_login")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(login))
    assert token_for(endpoint_of(None)) == "hf_of_the_login"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert token_for(endpoint_of("https://huggingface.co")) == TOKEN
    for far in ("https://other.example", "https://huggingface.co.other.example", "https://127.0.0.2"):
        with pytest.raises(UserError, match=r"HF_TOKEN goes to its own hub alone") as refused:
            token_for(endpoint_of(far))
        assert "--token-env NAME" in refused.value.fix
    monkeypatch.setenv("OTHER_TOKEN", "hf_of_the_other")
    assert token_for("https://other.example", "OTHER_TOKEN") == "hf_of_the_other"
    with pytest.raises(UserError, match=r"no token for other\.example"):
        token_for("https://other.example", "UNSET_TOKEN")
    with pytest.raises(UserError, match="Not the address of a hub"):
        endpoint_of("https://user:secret@hub.example")


@pytest.mark.parametrize(("method", "holds"), [("full", "model.safetensors"), ("qlora", "adapter_model.safetensors")])
def test_other_methods_are_pushed_as_what_they_left(
    hub: Hub, new_run: NewRun, finetune: Cli, tmp_path: Path, jobs_here: None, method: str, holds: str
) -> None:
    """QLoRA's adapter is proved on the 16-bit base that the card names, and held against the one in 4 bits."""
    made = new_run("go", evaluate={"systems": ("zero_shot",), "suites": ()}, steps=2, method=method)
    assert main(str(made.path)) == 0
    if method == "full":
        assert pushed(finetune, made, tmp_path / "out", "--form", "adapter").code == 2
    answer = pushed(finetune, made, tmp_path / "out")
    assert answer.code == 0, answer.out
    assert holds in hub.repos["me/tickets"].files
    assert ("retest" in answer.json["equivalence"]) is (method == "qlora")


def test_the_card_says_what_the_run_measured(hub: Hub, finished: Finished, tmp_path: Path) -> None:
    """By a real run process, so its environment is the real one too; the card is read by the hub's own loader."""
    more = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    out, home = tmp_path / "out", shutil.copytree(finished.home, tmp_path / "copied")  # others read that run as it was
    words = ("export", finished.run.name, "--to", "hub", "-o", out, "--repo", "me/kinds", "--public", "--yes", "--json")
    words = (*words, "--licence-checked", "the rows are invented")
    answer = command(*words, home=home, **more)
    assert answer.code == 0, answer.out + answer.err
    repo = hub.repos["me/kinds"]
    assert not repo.private
    assert TOKEN not in everything_written(home, out) + answer.out + answer.err
    card = ModelCard(repo.files["README.md"].decode())
    record, summary = read_json(finished.run.path / "data.json"), read_json(finished.run.path / "summary.json")
    assert (card.data.library_name, card.data.license) == ("peft", "other")
    results: list[EvalResult] = card.data.eval_results or []
    accuracy = summary["scores"]["fine_tuned"]["task_accuracy"]
    found = {each.metric_type: each for each in results}["accuracy"]
    assert found.metric_value == accuracy["value"]
    assert f"n = {accuracy['n']}" in (found.metric_name or "")
    assert found.dataset_revision == record["version"]
    for split in record["splits"].values():
        assert split["sha256"] in card.text
    for heading in ("What it is for", "Licences", "How it was trained", "How every system scored", "Limits"):
        assert f"## {heading}" in card.text
    assert "## General abilities" in card.text or "arithmetic" in card.text, "what was lost elsewhere"
    assert str(home) not in card.text
    assert 'PeftModel.from_pretrained(base, "me/kinds")' in card.text
