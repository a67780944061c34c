"""Which rows a step trains: every row once a pass, and easy rows first where the spec asks for a curriculum."""

from __future__ import annotations

from conftest import chat_rows
from hypothesis import given
from hypothesis import strategies as st

from executor.spec import TrainSpec, steps_per_epoch
from executor.train.order import Order, make_order

SIZES = st.integers(1, 9)


def settings(steps: int, size: int, curriculum: str, seed: int = 0) -> TrainSpec:
    return TrainSpec.model_validate({"steps": steps, "batch_size": size, "curriculum": curriculum, "seed": seed})


@given(st.integers(1, 50), st.integers(0, 20), SIZES, st.integers(0, 3), st.integers(0, 5))
def test_every_row_is_seen_once_an_epoch(rows: int, replay: int, size: int, epoch: int, seed: int) -> None:
    steps = steps_per_epoch(rows, replay, size)
    order = Order(rows, replay, settings(1, size, "none", seed))
    batches = [order.batch(epoch * steps + step) for step in range(steps)]
    assert sorted(i for batch in batches for i in batch) == list(range(rows + replay))
    assert all(0 < len(batch) <= size for batch in batches)
    assert all(max(batch) < rows or min(batch) >= rows for batch in batches), "task and replay never share a batch"


def test_the_order_changes_with_epoch_and_seed_and_with_nothing_else() -> None:
    def order(epoch: int, seed: int) -> list[int]:
        made = Order(40, 0, settings(1, 8, "none", seed))
        return [i for step in range(5) for i in made.batch(epoch * 5 + step)]

    assert order(0, 0) == order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)


@given(st.integers(3, 50), st.integers(0, 20), SIZES, st.integers(3, 60), st.permutations(range(50)))
def test_stages_reach_a_third_two_thirds_and_all(
    rows: int, replay: int, size: int, steps: int, ranks: list[int]
) -> None:
    easiest_first = [row for row in ranks if row < rows]
    order = Order(rows, replay, settings(steps, size, "staged"), easiest_first)
    for step in range(steps):
        stage = 3 * step // steps
        reach = set(easiest_first[: -(-rows * (stage + 1) // 3)])
        assert {row for row in order.batch(step) if row < rows} <= reach


def test_each_stage_sees_all_its_rows_where_it_is_long_enough() -> None:
    order = Order(30, 0, settings(12, 8, "staged"), list(range(30)))
    seen = [{row for step in range(4 * stage, 4 * stage + 4) for row in order.batch(step)} for stage in range(3)]
    assert seen == [set(range(10)), set(range(20)), set(range(30))]


@given(st.integers(1, 50), st.integers(0, 20), SIZES, st.integers(1, 60))
def test_pacing_reaches_a_growing_share_and_all_of_it_for_the_last_third(
    rows: int, replay: int, size: int, steps: int
) -> None:
    order = Order(rows, replay, settings(steps, size, "continuous"), list(range(rows)))
    for step in range(steps):
        batch = order.batch(step)
        assert batch == order.batch(step), "a resumed run trains the same rows"
        assert len(batch) == len(set(batch)) <= size
        assert max(batch) < rows or min(batch) >= rows
        share = (step * 0.99 / (2 / 3 * steps) + 0.01) ** 0.5
        if max(batch) < rows:
            assert max(batch) < max(size, share * rows + 1)


def test_rows_are_ranked_from_short_and_common_to_long_and_rare() -> None:
    rows = chat_rows(8)
    rows[0]["messages"][1]["content"] += " and a zebra wandered extraordinarily far beyond the quiet mountains" * 3
    order = make_order(rows, 0, settings(9, 4, "staged"))
    assert order.easiest_first[-1] == 0
    assert sorted(order.easiest_first) == list(range(8))
    assert not make_order(rows, 0, settings(9, 4, "none")).easiest_first
