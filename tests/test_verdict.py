"""Every gate before training and every rule of the verdict, from both sides."""

from __future__ import annotations

from typing import Any

import pytest

from executor.evaluate.power import rows_needed
from executor.evaluate.statistics import compare, interval
from executor.evaluate.verdict import after_training, best_system, decide, verdict
from executor.spec import STAGES, DataSpec, EvaluateSpec, ModelSpec, RunSpec, TrainSpec

KEPT = {"arithmetic": {"verdict": "kept", "difference": 0.0, "high": 0.05}}
DECISION = {"approach", "confidence", "because", "missing", "next"}


def spec(parameters: int | None = None, kind: str = "label", **evaluate: Any) -> RunSpec:
    return RunSpec(
        kind="go",
        stages=STAGES["go"],
        model=ModelSpec(name="tiny", source="folder", folder="/nowhere", parameters=parameters),
        data=DataSpec(path="/nowhere/rows.csv", version="0", kind=kind),
        train=TrainSpec(steps=1),
        evaluate=EvaluateSpec(**evaluate),
    )


def right(share: float, n: int = 400) -> list[float]:
    good = round(share * n)
    return [1.0] * good + [0.0] * (n - good)


def measured(n: int = 400, **shares: float) -> dict[str, Any]:
    return {system: {"task_accuracy": interval(right(share, n), binary=True)} for system, share in shares.items()}


def judged(
    tuned: float,
    base: float,
    n: int = 400,
    labels: int = 4,
    regression: dict[str, Any] | None = None,
    leaked: int = 0,
    **given: Any,
) -> tuple[str, list[str]]:
    """The verdict on a tuned and a base model with these shares right, `labels` labels being equally common."""
    compared = compare("fine_tuned", right(tuned, n), "few_shot", right(base, n), binary=True)
    scores = measured(n, few_shot=base, fine_tuned=tuned)
    commonest = None
    if given.get("kind", "label") == "label":
        commonest = compare(
            "fine_tuned", right(tuned, n), "commonest", [float(i % labels == 0) for i in range(n)], True
        )
    return verdict(compared, scores, KEPT if regression is None else regression, commonest, leaked, spec(**given))


def by_source(sources: int, each: int = 40) -> tuple[str, list[str]]:
    """Tuned right on all rows, base on none, from so many sources."""
    n = sources * each
    of = [str(row % sources) for row in range(n)]
    compared = compare("fine_tuned", [1.0] * (n - 1) + [0.0], "few_shot", [0.0] * n, True, of)
    return verdict(compared, measured(n, few_shot=0.0, fine_tuned=0.99), KEPT, None, 0, spec(kind="text"))


def test_few_sources_tell_nothing_either_way() -> None:
    assert by_source(12)[0] == "ship"
    for sources in (1, 2, 5):
        word, reasons = by_source(sources)
        assert word == "inconclusive"
        assert "at least 6 are needed" in reasons[0]
    n = 100
    compared = compare("fine_tuned", [0.0] * n, "few_shot", [0.0] * n, True, ["one"] * n)
    scores = measured(n, few_shot=0.0, fine_tuned=0.0)
    assert verdict(compared, scores, KEPT, None, 0, spec(kind="text"))[0] == "inconclusive", "nor that it is useless"


def test_an_interval_above_zero_is_not_enough_where_chance_is_not_ruled_out() -> None:
    compared = compare("fine_tuned", [1.0] * 5 + [0.0] * 5, "few_shot", [0.0] * 10, True)
    assert compared["low"] > 0
    assert compared["p_value"] > 0.05
    word, reasons = verdict(compared, measured(10, few_shot=0.0, fine_tuned=0.5), KEPT, None, 0, spec(kind="text"))
    assert word == "inconclusive"
    assert "may be chance (p = 0.062)" in reasons[0]


def test_what_favours_the_other_side_is_told_beside_the_reasons() -> None:
    compared = compare("fine_tuned", right(0.9), "few_shot", right(0.2), True)
    scores = measured(400, few_shot=0.2, fine_tuned=0.9)
    word, reasons = verdict(compared, scores, KEPT, None, 0, spec(kind="text"), ["It saw the test."])
    assert (word, reasons[-1]) == ("ship", "It saw the test.")


def test_the_best_is_the_most_accurate_and_on_a_tie_the_cheaper() -> None:
    assert best_system(measured(zero_shot=0.4, few_shot=0.6)) == "few_shot"
    assert best_system(measured(zero_shot=0.6, few_shot=0.6)) == "zero_shot"


@pytest.mark.parametrize(
    ("share", "n", "settings", "tune", "rule"),
    [
        (0.91, 400, {"target": 0.9}, False, "meets the target"),
        (0.60, 400, {"target": 0.9}, True, "worth measuring"),
        (0.75, 400, {"target": 0.9}, False, "improve the prompt"),
        (0.75, 400, {}, True, "worth measuring"),
        (0.97, 4000, {}, False, "is left to win"),
        (0.93, 4000, {}, True, "worth measuring"),
        (0.80, 30, {}, False, "test rows can show"),
        (0.50, 30, {}, True, "worth measuring"),
    ],
)
def test_a_gate_is_open_or_shut(share: float, n: int, settings: dict[str, Any], tune: bool, rule: str) -> None:
    found = decide(measured(n, zero_shot=share / 2, few_shot=share), spec(**settings))
    assert found["tune"] is tune
    assert rule in found["because"][-1]["text"]
    assert found["approach"] == ("fine_tune" if tune else "few_shot")
    assert found.keys() >= DECISION
    assert f"{share:.0%}" in found["because"][0]["text"], "the measured figure leads"


def test_each_reason_names_the_source_of_its_rule() -> None:
    found = decide(measured(zero_shot=0.95), spec(target=0.9, sources={"target": "this-run", "measured": "this-run"}))
    assert [reason["source"] for reason in found["because"]] == ["this-run", "this-run"]


def test_a_missing_target_is_asked_for() -> None:
    assert decide(measured(zero_shot=0.2), spec())["missing"]
    assert not decide(measured(zero_shot=0.2), spec(target=0.9))["missing"]


def test_a_small_model_lowers_the_confidence_and_says_so() -> None:
    small = decide(measured(zero_shot=0.95), spec(parameters=135_000_000, target=0.9))
    large = decide(measured(zero_shot=0.95), spec(parameters=8_000_000_000, target=0.9))
    assert small["confidence"] < large["confidence"]
    assert any("135M" in step for step in small["next"])
    assert not any("8000M" in step for step in large["next"])


def test_a_clear_gain_ships() -> None:
    word, reasons = judged(0.85, 0.40)
    assert word == "ship"
    assert "+45 points" in reasons[0]


def test_leaked_rows_never_ship() -> None:
    word, reasons = judged(0.85, 0.40, leaked=3)
    assert word == "do_not_ship"
    assert reasons[0].startswith("3 test rows")


@pytest.mark.parametrize(("state", "word"), [("lost", "do_not_ship"), ("unclear", "ship"), ("kept", "ship")])
def test_a_lost_suite_stops_and_an_unclear_one_is_told(state: str, word: str) -> None:
    suite = {"arithmetic": {"verdict": state, "difference": -0.3, "high": -0.2}}
    found, reasons = judged(0.85, 0.40, regression=suite)
    assert found == word
    assert ("arithmetic" in " ".join(reasons)) is (state != "kept")


def test_a_gain_too_small_to_be_useful_does_not_ship() -> None:
    word, reasons = judged(0.50, 0.50, n=4000)
    assert word == "do_not_ship"
    assert "below the useful 5%" in reasons[0]


def test_a_loss_does_not_ship() -> None:
    assert judged(0.40, 0.80)[0] == "do_not_ship"


@pytest.mark.parametrize(("kind", "word"), [("label", "do_not_ship"), ("json", "ship")])
def test_labels_must_beat_the_commonest_label(kind: str, word: str) -> None:
    found, reasons = judged(0.50, 0.10, labels=2, kind=kind)
    assert found == word
    assert any("commonest label" in reason for reason in reasons) is (kind == "label")


def test_few_rows_are_inconclusive_and_say_how_many_would_tell() -> None:
    word, reasons = judged(0.62, 0.55, n=40)
    assert word == "inconclusive"
    assert "test rows would tell" in reasons[0]


@pytest.mark.parametrize(("target", "word"), [(0.80, "ship"), (0.95, "inconclusive")])
def test_a_target_must_be_met(target: float, word: str) -> None:
    found, reasons = judged(0.85, 0.40, target=target)
    assert found == word
    assert ("the target is" in reasons[0]) is (word != "ship")


@pytest.mark.parametrize(
    ("word", "approach"), [("ship", "fine_tune"), ("do_not_ship", "few_shot"), ("inconclusive", "few_shot")]
)
def test_the_decision_follows_the_verdict(word: str, approach: str) -> None:
    scores = measured(zero_shot=0.4, few_shot=0.9, fine_tuned=0.7)
    before = decide(measured(zero_shot=0.4, few_shot=0.5), spec())
    after = after_training(spec(), before, word, ["because it was measured"], scores)
    assert after["approach"] == approach
    assert after.keys() == DECISION
    assert after["because"][-1]["text"] == "because it was measured"
    assert after["next"]


def test_a_failed_tune_is_not_the_advice() -> None:
    """Even where its score is the highest: without `ship` the best measured alternative is advised."""
    scores = measured(few_shot=0.5, fine_tuned=0.9)
    before = decide(measured(few_shot=0.5), spec())
    for word, approach in (("do_not_ship", "few_shot"), ("inconclusive", "few_shot"), ("ship", "fine_tune")):
        assert after_training(spec(), before, word, ["because"], scores)["approach"] == approach


def test_the_rows_that_would_tell_come_from_the_measured_discordance() -> None:
    tuned, base = [1.0] * 12 + [0.0] * 18, [0.0] * 12 + [1.0] * 6 + [0.0] * 12
    compared = compare("fine_tuned", tuned, "few_shot", base, binary=True)
    scores = {
        "few_shot": {"task_accuracy": interval(base, True)},
        "fine_tuned": {"task_accuracy": interval(tuned, True)},
    }
    word, reasons = verdict(compared, scores, KEPT, None, 0, spec())
    assert word == "inconclusive"
    assert f"about {rows_needed(0.2, 0.6)} test rows" in reasons[0]
