"""`ask`: one message without a window, and what it costs to start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer

from agent.ask import ask_once, last, render
from agent.events import Turn
from agent.offline import WORD
from agent.prompt import situation_in, split_data, system_prompt, with_data
from agent.session import Session
from agent.writing import WORDS, shortened
from tools.base import Args, Result, Tool, UserError

SOURCE = {"id": "seed", "title": "The seed", "url": "https://example.org", "read_on": "2026-11-22"}


class Given(Args):
    question: str | None = None
    intent: str | None = None
    path: str | None = None
    data: str | None = None
    task: str | None = None
    action: str | None = None
    run: str | None = None
    symptom: str | None = None
    situation: dict[str, Any] | None = None


class Said(Result):
    said: str
    runs: list[dict[str, Any]] | None = None
    situation: dict[str, Any] | None = None
    sources: list[dict[str, Any]] | None = None

    def text(self) -> str:
        return self.said


NAMES = ("decide", "look_up", "recommend_models", "diagnose", "data_inspect", "data_check", "plan", "go", "runs")


def tools(**answers: Any) -> list[Tool[Any, Any]]:
    """Every tool the offline advisor calls; each says its name unless told otherwise."""

    def made(name: str) -> Tool[Any, Any]:
        def run(given: Given) -> Said:
            answer = answers.get(name, f"{name} says so [seed].")
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, Said) else Said(said=answer, sources=[SOURCE])

        return Tool(
            name, f"{name}.", Given, Said, run, asks_first=name == "go", command="finetune go {data}",
            plan=(lambda given: f"Three epochs on {given.data}.") if name == "go" else None,
        )  # fmt: skip

    return [made(name) for name in NAMES]


async def steps_of(text: str, data: str | None = None, **answers: Any) -> list[str]:
    turn = await ask_once(text, data, tools=tools(**answers))
    return [step["tool"] for step in turn.steps]


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("Should I fine-tune for support ticket triage?", ["decide"]),
        ("Format data for fine-tuning", ["look_up"]),
        ("Which model to fine-tune for SQL generation?", ["recommend_models", "look_up"]),
        ("Fine-tuning parameters for a brand voice", ["look_up"]),
        ("Fine-tuning loss not decreasing", ["diagnose"]),
        ("Evaluate fine-tuned model", ["look_up", "runs"]),
    ],
)
async def test_the_seeds_triggers_call_the_right_tools(text: str, called: list[str]) -> None:
    assert await steps_of(text) == called


@pytest.mark.parametrize("order", ["Train on t.csv", "Please fine-tune a model on t.csv", "Run the whole job on t.csv"])
async def test_an_order_with_a_file_is_planned_and_run(order: str) -> None:
    turn = await ask_once(order, yes=True, tools=tools())
    assert [step["tool"] for step in turn.steps] == ["plan", "go"]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("The big model costs us a fortune each month. Should we tune a little one instead?", "decide"),
        ("Our replies break the format. Do we need to train a model?", "decide"),
        ("The training loss is NaN after ten steps", "diagnose"),
    ],
)
async def test_a_choice_between_ways_is_decided_whatever_it_is_wrapped_in(text: str, first: str) -> None:
    assert (await steps_of(text))[0] == first


async def test_a_file_is_looked_at() -> None:
    assert sorted(await steps_of("Check my data", "tickets.csv")) == ["data_check", "data_inspect"]


async def test_naming_a_file_after_a_decision_looks_at_it_and_decides_nothing_anew() -> None:
    known = Said(said="Few-shot.", situation={"examples": 20})
    async with Session(tools=tools(decide=known)) as session:
        await last(session.send("Should I fine-tune for triage?"))
        turn = await last(session.send("Check tickets.csv"))
    assert isinstance(turn, Turn)
    assert sorted(step["tool"] for step in turn.steps) == ["data_check", "data_inspect"]


async def test_the_newest_run_is_shown_when_one_exists() -> None:
    listed = Said(said="Two runs.", runs=[{"run": "/new"}, {"run": "/old"}])
    turn = await ask_once("Evaluate fine-tuned model", tools=tools(runs=listed))
    assert turn.steps[-1]["args"] == {"action": "show", "run": "/new"}


async def test_without_yes_a_costly_step_is_shown_with_plan_and_command_and_not_run() -> None:
    turn = await ask_once("Train a model", "a b.csv", tools=tools())
    assert turn.steps[-1]["tool"] == "go"
    assert turn.steps[-1]["ok"] is False
    assert "`finetune go 'a b.csv'`" in turn.answer
    assert "Three epochs on a b.csv." in turn.answer
    assert "--yes" in turn.answer


async def test_with_yes_it_runs() -> None:
    turn = await ask_once("Train a model", "tickets.csv", yes=True, tools=tools())
    assert [(step["tool"], step["ok"]) for step in turn.steps] == [("plan", True), ("go", True)]


async def test_a_plan_that_failed_is_told_and_nothing_is_started() -> None:
    turn = await ask_once("Train a model", "x.csv", yes=True, tools=tools(plan=UserError("No such file", "x.csv")))
    assert [step["tool"] for step in turn.steps] == ["plan"]
    assert "No such file (x.csv)" in turn.answer


async def test_training_without_a_file_asks_for_it_in_at_most_three_questions() -> None:
    turn = await ask_once("Train a model for me", tools=tools())
    assert "Which file" in turn.answer
    assert turn.answer.count("?") <= 3


async def test_a_workflow_starts_with_the_decision_and_names_the_steps() -> None:
    turn = await ask_once("Guide me through fine-tuning", tools=tools())
    assert [step["tool"] for step in turn.steps] == ["decide"]
    assert turn.answer.index("decide says so") < turn.answer.index("baseline")


async def test_long_results_are_cut_to_an_answer() -> None:
    long = "The answer first. " + "More words follow here. " * 400
    turn = await ask_once("What is LoRA?", tools=tools(look_up=long))
    assert turn.answer.startswith("The answer first.")
    assert len(turn.answer.split()) <= WORDS


@pytest.mark.parametrize("text", ["asdkj qwe zxc", "🔥" * 50, "a\x01\x02\x1b[31m?", "fine-tune " * 10_000])
async def test_strange_input_gets_an_answer(text: str) -> None:
    turn = await ask_once(text, tools=tools())
    assert turn.answer
    assert turn.question == text


def test_cutting_keeps_whole_lines_and_sentences() -> None:
    assert shortened("one two\nthree four", 3) == "one two"
    assert shortened("One two. Three four.", 3) == "One two."
    assert shortened("one two three", 2) == "one two …"
    assert shortened("text", 0) == ""


def test_streamed_words_add_up_to_the_text() -> None:
    text = "# A\n\n- one  two\n\n| a |\n"
    assert "".join(match.group() for match in WORD.finditer(text)) == text


def test_the_situation_and_the_data_file_survive_being_written_into_a_message() -> None:
    assert situation_in(system_prompt({"rows": 3})) == {"rows": 3}
    assert situation_in(system_prompt(None)) is None
    assert split_data(with_data("Hello", "a b.csv")) == ("Hello", "a b.csv")
    assert split_data("Hello") == ("Hello", None)


def test_a_turn_for_the_terminal_names_sources_and_steps() -> None:
    step = {"tool": "look_up", "args": {}, "ok": True, "seconds": 0.01}
    text = render(Turn("q", "offline", "other", "The answer.", None, None, [SOURCE], [step, step | {"ok": False}]))
    assert text.startswith("The answer.")
    assert "[seed] The seed  https://example.org (read 2026-11-22)" in text
    assert "look_up not done" in text


def test_what_is_piped_in_is_the_material_of_the_question(tmp_path: Path) -> None:
    log = "step 10 loss 2.1\nRuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
    done = subprocess.run(
        [sys.executable, "-m", "agent", "ask", "why?", "--json"], input=log, capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[1], env={**os.environ, "FINETUNE_HOME": str(tmp_path)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert "diagnose" in {step["tool"] for step in found["steps"]}
    assert found["diagnoses"][0]["cause_class"] == "memory"


def test_a_pipe_that_is_only_open_is_not_waited_for(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    done = subprocess.run(
        [sys.executable, "-m", "agent", "ask", "What is LoRA?"], stdin=reader, capture_output=True, timeout=60,
        check=True, cwd=Path(__file__).parents[1], env={**os.environ, "FINETUNE_HOME": str(tmp_path)},
    )  # fmt: skip
    os.close(writer)
    os.close(reader)
    assert b"LoRA" in done.stdout


def test_asking_imports_no_provider_and_no_window() -> None:
    heavy = "{'langchain_openai', 'openai', 'textual', 'torch', 'pandas', 'numpy', 'aiosqlite'}"
    code = (
        "import asyncio, sys; from agent.ask import ask_once; asyncio.run(ask_once('What is LoRA?', tools=[]));"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    path = [str(folder) for folder in sys.path if folder]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_order_to_compare_asks_before_it_measures(finetune: Callable[..., Answer], table: Path) -> None:
    answer = finetune("ask", f"Compare prompting, few-shot and retrieval on {table}", "--json")
    assert answer.code == 0
    assert [(step["tool"], step["ok"]) for step in answer.json["steps"]] == [("compare", False)]
    assert f"finetune compare {table}" in answer.json["answer"]
