"""Hosted jobs: what is refused before anything is sent, providers that end or fail, Together, the published API."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from conftest import Answer, chat_rows, pair_rows
from hosted_server import KEY, Hosted, Provider, Said, written
from published_api import FILE, departures

from executor.errors import UserError
from knowledge.load import fact
from tools.hosted import SubmitArgs, plan_submit, run_estimate, run_submit
from tools.hosted_order import EstimateArgs
from tools.hosted_price import price_of

pytest_plugins = ["hosted_kit"]


def test_a_wrong_key_is_one_line(
    server: Provider, submit: Hosted, hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "another"
    refused = hosted("list", "--provider", "openai", at=server)
    assert refused.code == 3
    assert len(refused.err.splitlines()) == 1
    assert "401" in refused.err
    assert submit(server).json["error"]["where"] == "MY_KEY"
    monkeypatch.delenv("MY_KEY")
    assert "There is no key" in submit(server).json["error"]["what"]


def test_a_busy_provider_is_asked_again_and_a_broken_one_given_up(
    server: Provider, submit: Hosted, hosted: Hosted
) -> None:
    server.faults = [("GET", "/", 429), ("GET", "/", 500)]
    job = submit(server).json["job"]["id"]
    server.faults = [("GET", f"/fine_tuning/jobs/{job}", 500)] * 5
    given_up = hosted("watch", job, "--every", 0)
    assert given_up.code == 4
    assert len(given_up.err.splitlines()) == 1
    assert server.faults == [], "five times, with pauses"
    assert "no luck, Bearer ***" in given_up.err, "the server repeats the key; we do not"
    server.faults = [("POST", "/fine_tuning/jobs", 429)]
    assert submit(server, "--n-epochs", 1).code == 4, "what costs is asked for once"
    server.faults = [("POST", "/fine_tuning/jobs", 400)]
    assert submit(server, "--n-epochs", 1).code == 3
    assert submit(server, "--n-epochs", 1).json["created"] is True


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--learning-rate", 0.1), "takes no learning_rate"),
        (("--n-epochs", 51), "50 epochs at most"),
        (("--suffix", "x" * 65), "too long"),
        (("--learning-rate-multiplier", "inf"), "finite"),
        (("--base-url", "ftp://x"), "no plain http"),
        (("--base-url", "http://example.invalid/v1"), "unencrypted"),
        (("--base-url", "https://example.invalid/v1", "--key-env", "sk-abc"), "not a key"),
    ],
)
def test_what_cannot_be_is_told(hosted: Hosted, rows: Path, words: tuple[object, ...], says: str) -> None:
    given = words if "--key-env" in words or says != "unencrypted" else (*words, "--key-env", "MY_KEY")
    answer = hosted("submit", rows, "--provider", "openai", *given, "--yes")
    assert answer.code in (2, 3)
    assert says in answer.err.splitlines()[-1]


def test_a_key_goes_to_no_server_that_it_was_not_named_for(
    hosted: Hosted, rows: Path, server: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    far = ("--provider", "openai", "--base-url", "https://example.invalid/v1", "--yes")
    assert "Which key is for example.invalid?" in hosted("submit", rows, *far).err
    here = ("submit", rows, "--provider", "openai", "--base-url", server.url, "--yes")
    assert hosted(*here).code == 3, "a server on this machine gets none unless it is named"
    assert server.said
    assert all(each.status == 401 for each in server.said)


def test_data_that_does_not_suit_is_not_sent(server: Provider, submit: Hosted, table: Path, tmp_path: Path) -> None:
    few = written(tmp_path / "few.jsonl", chat_rows(5))
    large = tmp_path / "large.jsonl"
    with open(large, "wb") as out:
        out.truncate(513 * 2**20)
    pairs = [{"prompt": "x", "chosen": f"yes {n}", "rejected": "no"} for n in range(12)]
    pairs = written(tmp_path / "pairs.jsonl", pairs)
    bad = written(tmp_path / "bad.jsonl", [*chat_rows(12), {"messages": [{"role": "user", "content": "x"}]}])
    for data, says in (
        (few, "at least 10"), (large, "512 MB"), (table, "JSON lines"), (pairs, "preference row"), (bad, "line 13"),
        (tmp_path / "gone.jsonl", "gone.jsonl"),
    ):  # fmt: skip
        refused = submit(server, data=data)
        assert refused.code == 3, data
        assert says in " ".join(refused.json["error"].values())
    large.unlink()
    assert submit(server, "--validation", few, data=few).code == 3
    assert server.said == []


def test_sealed_test_rows_are_not_sent_in_another_dress(
    server: Provider, hosted: Hosted, finetune: Callable[..., Answer], jobs_here: None, rows: Path, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    assert finetune("data", "split", rows, "-o", parts, "--json").code == 0
    tested = [json.loads(line) for line in (parts / "test.jsonl").read_text().splitlines()]
    trained = [json.loads(line) for line in (parts / "train.jsonl").read_text().splitlines()]
    loud = [{"messages": [{**turn, "content": f" {turn['content'].upper()}!"} for turn in row["messages"]]}
            for row in tested]  # fmt: skip
    files = {
        "spaced": "".join(json.dumps(row, indent=None, separators=(" ,", " : ")) + "\n" for row in tested),
        "reversed": "".join(json.dumps(row) + "\n" for row in tested[::-1]),
        "minus": "".join(json.dumps(row) + "\n" for row in tested[1:]),
        "loud": "".join(json.dumps(row) + "\n" for row in loud),
        "one": "".join(json.dumps(row) + "\n" for row in [*trained, tested[0]]),
    }
    for name, text in files.items():
        (tmp_path / f"{name}.jsonl").write_text(text)
    train = ("estimate", parts / "train.jsonl", "--provider", "openai")
    assert hosted(*train).code == 0
    assert hosted(*train, "--validation", parts / "validation.jsonl").code == 0
    for name in files:
        refused = hosted(*train, "--validation", tmp_path / f"{name}.jsonl", "--json")
        assert refused.code == 3, name
        assert "sealed test part" in refused.json["error"]["what"]
    one = hosted("estimate", tmp_path / "one.jsonl", "--provider", "openai", "--json").json["error"]["what"]
    assert one.startswith(f"1 row (line {len(trained) + 1}) of one.jsonl")
    whole = hosted("estimate", rows, "--provider", "openai", "--json")
    assert whole.code == 3
    assert f"{len(tested)} rows (lines " in whole.json["error"]["what"]
    assert finetune("data", "split", rows, "-o", tmp_path / "other", "--seed", 5, "--json").code == 0
    assert hosted(*train).code == 0, "another split of the same rows seals others"


def test_validation_rows_are_not_training_rows(hosted: Hosted, rows: Path, tmp_path: Path) -> None:
    few = [json.loads(line) for line in rows.read_text().splitlines()[3:5]]
    same = written(tmp_path / "same.jsonl", [{**row, "id": 1} for row in few] + chat_rows(60)[-1:])
    refused = hosted("estimate", rows, "--provider", "openai", "--validation", same, "--json")
    assert refused.code == 3
    assert "of the validation rows ask what training rows ask" in refused.json["error"]["what"]


def test_personal_data_is_told_before_it_is_sent(server: Provider, hosted: Hosted, tmp_path: Path) -> None:
    rows = chat_rows(12)
    rows[3]["messages"][1]["content"] = "write to ann.miller@mail-of-ann.org"
    plan = hosted("submit", written(tmp_path / "mail.jsonl", rows), "--provider", "openai", at=server)
    assert plan.code == 2
    assert "Personal data or secrets stand in 1 place " in plan.err
    assert "ann.miller" not in plan.err


def test_preference_rows_train_by_dpo(server: Provider, submit: Hosted, tmp_path: Path) -> None:
    rows = [
        {
            "input": {"messages": row["messages"][:-1]},
            "preferred_output": [row["messages"][-1]],
            "non_preferred_output": [row["rejected"]],
        }
        for row in pair_rows(15)
    ]
    data = written(tmp_path / "pairs.jsonl", rows[:12])
    few = written(tmp_path / "few.jsonl", rows[12:])
    assert submit(server, "--validation", few, data=data).json["created"] is True
    sent = server.asked("POST", "/fine_tuning/jobs")[0].sent
    assert sent["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 3}}}
    assert server.contents[sent["validation_file"]] == few.read_bytes()


LAST = fact("shutdowns", "openai.finetuning.new_jobs").value
assert isinstance(LAST, date)
BEFORE = LAST - timedelta(days=1)


def test_a_provider_that_ends_is_told_before_and_refused_after(rows: Path, server: Provider) -> None:
    args = SubmitArgs(data=str(rows), provider="openai")
    for told in (
        plan_submit(args, BEFORE),
        run_estimate(EstimateArgs(data=str(rows), provider="openai"), BEFORE).text(),
    ):
        assert "That is in 1 day." in told
        assert "no new fine-tuning jobs from 6 January 2027 on" in told
        assert "14 January 2027" in told
        assert "expired: check it again" in told, "the fact itself was to be read again by then"
        closed = next(line for line in told.splitlines() if "never used it" in line)
        assert f"read on {fact('shutdowns', 'openai.finetuning.new_users').read_on}, expired: check" in closed
        assert "openai-deprecations" in closed
    for day in (LAST, LAST + timedelta(days=400)):
        for verb in (plan_submit, run_submit):
            with pytest.raises(UserError, match="no new fine-tuning jobs") as caught:
                verb(args, day)
            assert caught.value.exit_code == 3
            assert "finetune go DATA" in caught.value.fix
        with pytest.raises(UserError):
            run_estimate(EstimateArgs(data=str(rows), provider="openai"), day)
    for name in ("gpt-4.1-nano-2025-04-14", "GPT-4.1-Nano", "ft:GPT-3.5-turbo:org::1"):
        with pytest.raises(UserError, match=r"gpt-4\.1-nano"):
            plan_submit(args.model_copy(update={"model": name}), date(2026, 11, 1))
    elsewhere = args.model_copy(update={"base_url": server.url, "key_env": "MY_KEY"})
    assert "6 January" not in plan_submit(elsewhere, LAST)
    assert run_submit(elsewhere, LAST).created is True


@pytest.mark.parametrize("model", [
    "mistralai/Mixtral-8x7B-Instruct-v0.1", "meta-llama/Llama-4-Scout-17B-16E-Instruct", "Qwen/Qwen3-30B-A3B",
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct", "deepseek-ai/DeepSeek-V3", "meta-llama/Llama-3.1-405B",
])  # fmt: skip
def test_the_price_of_a_mixture_is_not_known(model: str) -> None:
    assert price_of("together", model, LAST) is None


def test_together_s_price_is_that_of_the_method() -> None:
    for method, row in (("supervised", "together.16b.lora_sft"), ("dpo", "together.16b.lora_dpo")):
        price, known = price_of("together", "Qwen/Qwen3-8B", LAST, method), fact("prices", row)  # type: ignore[arg-type]
        assert price is not None
        assert price.low == price.high == known.value
        assert price.facts[0] == row
        assert price.stale
    large = price_of("together", "Qwen/Qwen3-32B", LAST)
    assert large is not None
    assert large.low < large.high


def test_together_by_its_own_paths(together: Provider, hosted: Hosted, submit: Hosted, rows: Path) -> None:
    named = ("--model", "Qwen/Qwen3-8B", "--learning-rate", 2e-5, "--suffix", "kinds")
    plan = hosted("estimate", rows, "--provider", "together", *named, at=together)
    price = fact("prices", "together.16b.lora_sft")
    assert ("expired" in plan.out) is price.stale()
    assert str(price.read_on) in plan.out
    assert f"{price.value:.2f} USD per million tokens" in plan.out
    together.loses = {"/fine-tunes": "after"}
    made = submit(together, *named, provider="together")
    assert made.code == 0, made.out
    assert made.json["estimate"]["cost_usd"]["expected"] >= fact("prices", "together.minimum").value  # type: ignore[operator]
    assert submit(together, *named, provider="together").json["created"] is False
    assert len(together.asked("POST", "/fine-tunes")) == 1
    sent = together.asked("POST", "/fine-tunes")[0].sent
    assert (sent["n_epochs"], sent["batch_size"], sent["learning_rate"]) == (3, "max", 2e-5)
    assert sent["training_method"] == {"method": "sft", "train_on_inputs": "auto"}
    assert sent["suffix"].startswith("kinds-")
    assert len(sent["suffix"]) <= 40
    upload = together.asked("POST", "/files/upload")[0].sent if together.asked("POST", "/files/upload") else None
    assert upload is None or upload["file_type"] == "jsonl"
    job = made.json["job"]["id"]
    end = hosted("watch", job, "--every", 0, "--json")
    assert (end.code, end.json["status"]) == (0, "succeeded")
    assert len(end.json["events"]) == len(together.events[job]), "equal events are two, and none comes twice"
    assert [row["step"] for row in end.json["metrics"]] == [1, 2, 3, 4, 5]
    assert f"kinds-{sent['suffix'][-12:]}" in end.json["model"]
    assert "dedicated endpoint" in hosted("watch", job, "--once").out
    second = submit(together, *named, "--again", provider="together").json["job"]["id"]
    assert hosted("cancel", second, "--yes", "--json").json["job"]["said"] == "cancel_requested"
    assert hosted("watch", second, "--every", 0, "--json").json["status"] == "cancelled"


def test_the_published_api_is_kept_to(server: Provider, hosted: Hosted, submit: Hosted, tmp_path: Path) -> None:
    """Every exchange is held to it by the fixture; here, that a departure would be seen."""
    if not FILE.exists():
        pytest.skip(f"{FILE} is absent")
    others = chat_rows(3)
    for row in others:
        row["messages"][1]["content"] += " And this is another question."
    few = written(tmp_path / "few.jsonl", others)
    job = submit(server, "--validation", few).json["job"]["id"]
    assert hosted("watch", job, "--every", 0, "--json").json["status"] == "succeeded"
    kinds = {(each.method, each.path.replace(job, "ID")) for each in server.said}
    assert kinds == {
        ("GET", "/files"), ("POST", "/files"), ("GET", "/fine_tuning/jobs"), ("POST", "/fine_tuning/jobs"),
        ("GET", "/fine_tuning/jobs/ID"), ("GET", "/fine_tuning/jobs/ID/events"),
        ("GET", "/fine_tuning/jobs/ID/checkpoints"),
    }  # fmt: skip
    pages = [each.query for each in server.said if each.path.endswith("/events") and "after" in each.query]
    assert pages, "more events than a page holds"
    made = server.asked("POST", "/fine_tuning/jobs")[0]
    for wrong in ({"seed": -1}, {"suffix": "x" * 65}, {"metadata": {"k": 1}}, {"method": {"type": "other"}}):
        assert departures(Said("POST", "/fine_tuning/jobs", {}, {**made.sent, **wrong}, 200, made.answer)), wrong
    assert departures(Said("POST", "/fine_tuning/jobs", {}, made.sent, 200, {**made.answer, "status": "done"}))
    assert departures(Said("GET", "/files", {"name": "x"}, None, 200, server.asked("GET", "/files")[0].answer))
