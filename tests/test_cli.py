"""The command line: one JSON object, the contract's exit codes, and a cold question without heavy imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Answer, Finished, command

from executor.run_folder import RunFolder, all_runs
from tools.runs import outcome

Finetune = Callable[..., Answer]
ERROR = {"what", "where", "fix"}


@pytest.fixture
def in_finished(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """The workspace that holds the finished run."""
    monkeypatch.setenv("FINETUNE_HOME", str(finished.home))
    return finished


# Every command: exit code and keys.


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (
            ["ask", "Should I fine-tune for ticket triage?"],
            "question model intent answer decision diagnoses sources steps",
        ),
        (
            ["data", "inspect", "TABLE"],
            "valid format shape encoding delimiter sheets rows columns suggested_map problems",
        ),
        (["data", "format", "TABLE", "-o", "OUT.jsonl"], "in_rows out_rows rejected_rows rejected out sha256"),
        (["data", "check", "TABLE"], "valid target rows problems counts quality"),
        (["data", "split", "TABLE", "-o", "OUT"], "train validation test clusters leakage seed"),
        (["models", "--memory", "24GB"], "models"),
        (["plan", "TABLE", "--base-model", "MODEL", "--no-measure"], "spec estimate reasons"),
        (["doctor", "the loss is nan after ten steps"], "diagnoses"),
        (["facts"], "facts"),
        (["facts", "--stale"], "facts"),
        (["runs"], "runs"),
        (["runs", "show"], "run"),
        (["runs", "stop"], "run"),
    ],
)
def test_a_command_gives_one_object_with_the_contracts_keys(
    words: list[str],
    keys: str,
    in_finished: Finished,
    table: Path,
    tiny_model: Path,
    tmp_path: Path,
    finetune: Finetune,
) -> None:
    places = {"TABLE": table, "OUT": tmp_path / "out", "OUT.jsonl": tmp_path / "out.jsonl", "MODEL": tiny_model}
    given = [places.get(word, word) for word in words]
    answer = finetune(*given, "--json")
    assert answer.code == 0, answer.out + answer.err
    assert answer.json.keys() >= set(keys.split())
    for out in (tmp_path / "out", tmp_path / "out.jsonl"):
        if str(out) in map(str, given):
            given.append("--yes")
    spoken = finetune(*given)
    assert spoken.code == 0
    assert spoken.out.strip()
    assert not spoken.out.startswith("{")


def test_the_jobs_end_with_the_contracts_keys(
    jobs_here: None, table: Path, tiny_model: Path, tmp_path: Path, finetune: Finetune
) -> None:
    """Train, evaluate, compare and go, one after the other, the run process played by this one."""
    base = ("--base-model", tiny_model, "--json")
    trained = finetune("train", table, *base)
    assert (trained.code, trained.json["status"]) == (0, "done")
    assert trained.json.keys() >= {"run", "status", "metrics"}
    some = tmp_path / "some.csv"
    some.write_text("".join(table.read_text(encoding="utf-8").splitlines(keepends=True)[:13]), encoding="utf-8")
    evaluated = finetune("evaluate", trained.json["run"], "--data", some, "--json")
    assert evaluated.code == 3, "rows that it was trained on"
    held_out = Path(trained.json["run"]) / "data" / "test.jsonl"
    evaluated = finetune("evaluate", trained.json["run"], "--data", held_out, "--json")
    assert evaluated.json.keys() >= {
        "run", "scores", "comparison", "regression", "verdict", "verdict_reasons", "report"
    }  # fmt: skip
    compared = finetune("compare", table, "--systems", "zero_shot, few_shot", *base)
    assert (compared.code, compared.json["scores"].keys()) == (0, {"zero_shot", "few_shot"})
    assert compared.json.keys() >= {"run", "scores", "comparison", "decision", "report"}
    assert len(finetune("runs", "--json").json["runs"]) == 3


def test_go_walks_the_whole_way(in_finished: Finished, finetune: Finetune) -> None:
    """A real run process made it; here only its answer is looked at again."""
    listed = finetune("runs", "--json").json["runs"]
    assert [run["run"] for run in listed] == [str(in_finished.run.path)]
    shown = finetune("runs", "show", in_finished.run.name[:12], "--json").json["run"]
    assert shown["result"] == in_finished.answer.json
    assert shown["steps"] == list(range(1, len(shown["steps"]) + 1))
    spoken = finetune("runs", "show")
    assert in_finished.answer.json["verdict"] in spoken.out
    assert "Starting" in in_finished.answer.err, "narration goes to stderr"
    assert outcome(str(in_finished.run.path)) == in_finished.answer.json


def test_a_finished_run_is_not_started_again(in_finished: Finished, finetune: Finetune) -> None:
    before = in_finished.run.status()
    answer = finetune("train", "--resume", in_finished.run.path, "--detach", "--json")
    assert (answer.code, answer.json["status"]) == (0, "done")
    assert in_finished.run.status() == before


# Exit codes of jobs.


@pytest.fixture
def jobs_end(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Jobs end at once in the given state."""

    def end(state: str, result: dict[str, Any] | None = None, **status: Any) -> None:
        def start(run: RunFolder) -> RunFolder:
            run.set_status(state, **status)  # type: ignore[arg-type]
            if result is not None:
                (run.path / "result.json").write_text(json.dumps(result | {"run": str(run.path)}), encoding="utf-8")
            return run

        monkeypatch.setattr("tools.jobs.start", start)

    return end


@pytest.mark.parametrize(("verdict", "code"), [("ship", 0), (None, 0), ("do_not_ship", 1), ("inconclusive", 1)])
def test_the_verdict_is_the_exit_code(
    verdict: str | None, code: int, jobs_end: Any, table: Path, tiny_model: Path, finetune: Finetune
) -> None:
    decision = {"approach": "prompt", "because": [{"text": "It was measured."}]}
    jobs_end("done", result={"verdict": verdict, "verdict_reasons": ["Measured."], "scores": {}, "decision": decision})
    answer = finetune("go", table, "--base-model", tiny_model, "--yes", "--json")
    assert (answer.code, answer.json["verdict"]) == (code, verdict)
    spoken = finetune("go", table, "--base-model", tiny_model)
    assert (spoken.code, (verdict or "no training") in spoken.out) == (code, True)
    assert finetune("demo", "--json").code == 0, "a demo was shown, whatever came out"


BROKEN = {"error": {"what": "It broke", "where": "there", "fix": "Mend it."}}


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("failed", BROKEN | {"exit_code": 3}, 3),
        ("failed", BROKEN | {"exit_code": 4}, 4),
        ("failed", BROKEN | {"exit_code": 1}, 3),
        ("failed", {"reason": "internal error: KeyError"}, 3),
        ("paused", BROKEN | {"exit_code": 3}, 3),
        ("stopped", BROKEN | {"exit_code": 130}, 130),
        ("stopped", {}, 130),
        ("running", {"pid": None}, 3),
    ],
)
def test_how_a_job_ended_is_the_exit_code(
    state: str, status: dict[str, Any], code: int, jobs_end: Any, table: Path, tiny_model: Path, finetune: Finetune
) -> None:
    jobs_end(state, **status)
    answer = finetune("go", table, "--base-model", tiny_model, "--json")
    assert answer.code == code
    assert answer.json.keys() == {"error"}
    assert answer.json["error"].keys() == ERROR
    assert answer.json["error"]["fix"]
    spoken = finetune("go", table, "--base-model", tiny_model)
    assert (spoken.code, spoken.out) == (code, "")
    assert spoken.err.splitlines()[-1].startswith("finetune: ")


def test_ctrl_c_asks_the_run_to_stop(
    new_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, finetune: Finetune
) -> None:
    run = new_run()
    asked: list[str] = []

    def ask(name: str) -> dict[str, str]:
        asked.append(name)
        return {"state": "stopped"}

    def interrupted(name: str) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("tools.train.start", lambda run: run)
    monkeypatch.setattr("agent.follow.wait", interrupted)
    monkeypatch.setattr("agent.follow.ask_to_stop", ask)
    answer = finetune("train", "--resume", run.name, "--json")
    assert (answer.code, asked) == (130, [str(run.path)])
    assert run.name in answer.json["error"]["fix"]


# Wrong usage.


@pytest.mark.parametrize(
    "words",
    [
        ["--no-such-option"],
        ["no-such-command"],
        ["ask"],
        ["ask", "  "],
        ["go"],
        ["go", "TABLE", "--no-such-option"],
        ["go", "TABLE", "--target", "7"],
        ["go", "TABLE", "--target", "high"],
        ["go", "TABLE", "--budget", "soon"],
        ["go", "TABLE", "--map", "user"],
        ["train"],
        ["train", "TABLE", "--method", "magic"],
        ["plan", "TABLE", "--method", "magic"],
        ["compare", "TABLE", "--systems", "magic"],
        ["compare", "TABLE", "--systems", "fine_tuned"],
        ["evaluate", "RUN"],
        ["data", "no-such-command"],
        ["data", "format", "TABLE"],
        ["data", "format", "TABLE", "-o", "OUT", "--to", "magic"],
        ["data", "check", "TABLE", "--for", "mars"],
        ["data", "split", "TABLE", "-o", "OUT", "--ratios", "a,b,c"],
        ["data", "split", "TABLE", "-o", "OUT", "--ratios", ".5,.5"],
        ["runs", "no-such-command"],
        ["models", "--memory", "lots"],
        ["facts", "surplus"],
    ],
)
def test_wrong_usage_is_2_with_one_line_or_one_error_object(
    words: list[str], table: Path, tmp_path: Path, finetune: Finetune
) -> None:
    given = [{"TABLE": table, "OUT": tmp_path / "out"}.get(word, word) for word in words]
    answer = finetune(*given, "--json")
    assert answer.code == 2, answer.out + answer.err
    assert answer.json.keys() == {"error"}
    assert answer.json["error"].keys() == ERROR
    spoken = finetune(*given)
    assert (spoken.code, spoken.out) == (2, "")
    assert len(spoken.err.strip().splitlines()) == 1
    assert not (tmp_path / "home" / "runs").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--help"], ["go", "--help"], ["data", "--help"], ["runs", "-h"]])
def test_help_is_help(words: list[str], finetune: Finetune) -> None:
    answer = finetune(*words)
    assert (answer.code, answer.err) == (0, "")
    assert "Usage" in answer.out


# Asking.


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("Should I fine-tune for support ticket triage?", "decide"),
        ("Format data for fine-tuning", "prepare_data"),
        ("Which model to fine-tune for SQL generation?", "choose_model"),
        ("Fine-tuning parameters for a brand voice", "configure"),
        ("Evaluate fine-tuned model", "evaluate"),
        ("Fine-tuning loss not decreasing", "debug"),
        ("fine-tune model", "decide"),
    ],
)
def test_the_triggers_bring_their_intent_and_a_sourced_answer(text: str, intent: str, finetune: Finetune) -> None:
    answer = finetune("ask", text, "--json").json
    assert answer["intent"] == intent
    assert answer["model"] == "offline"
    assert len(answer["answer"]) > 80
    assert answer["sources"]
    assert all(source.keys() >= {"id", "title", "url", "read_on"} for source in answer["sources"])
    assert all(step["ok"] for step in answer["steps"])


def test_ask_shows_what_would_spend_and_does_not_do_it(table: Path, finetune: Finetune) -> None:
    answer = finetune("ask", "train a model on my file", "--data", table, "--json")
    assert answer.code == 0
    assert f"finetune go {table}" in answer.json["answer"]
    assert [step["ok"] for step in answer.json["steps"] if step["tool"] == "go"] == [False]
    assert all_runs() == []


def test_a_question_comes_from_stdin_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent", "ask", "-", "--json"],
        input="Fine-tuning loss not decreasing\n", capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0
    assert json.loads(done.stdout)["intent"] == "debug"


def test_in_a_process_of_its_own_stdout_is_one_object_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    good = command("facts", "--json", home=tmp_path / "home")
    assert (good.code, good.json.keys()) == (0, {"facts", "sources"})
    bad = command("facts", "--no-such-option", "--json", home=tmp_path / "home")
    assert (bad.code, bad.json["error"].keys(), bad.err) == (2, ERROR, "")


def test_an_answer_imports_neither_torch_nor_the_window(tmp_path: Path) -> None:
    program = (
        "import json, sys\n"
        "from agent.cli import main\n"
        "sys.argv = ['finetune', 'ask', 'Should I fine-tune for ticket triage?', '--json']\n"
        "try:\n    main()\n"
        "finally:\n    print(json.dumps(list(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"]
    loaded = set(json.loads(done.stderr.strip().splitlines()[-1]))
    heavy = {
        "torch",
        "transformers",
        "peft",
        "datasets",
        "bitsandbytes",
        "textual",
        "pandas",
        "scipy",
        "numpy",
        "pyarrow",
    }
    assert "langchain" in loaded
    assert not heavy & loaded


def test_a_question_about_a_missing_file_is_refused(finetune: Finetune) -> None:
    answer = finetune("ask", "check it", "--data", "nowhere.csv", "--json")
    assert (answer.code, answer.json["error"]["where"]) == (3, "nowhere.csv")
