"""The systems under test: what each of them is given for a row, and the choices that validation rows decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from executor.data.rows import answer, asked
from executor.evaluate.instructions import instructions
from executor.evaluate.metrics import metric_name
from executor.evaluate.retrieve import Texts
from executor.evaluate.shots import Shots, text_of
from executor.evaluate.statistics import interval
from executor.job import Job
from executor.spec import System

LEAST_CHOICE = 12
"""validation rows; on fewer, a choice would be a throw of the dice: the plainest way is taken"""
PASSAGES = (1, 3, 5)
"""how many passages are tried"""
PASSAGE_TOKENS = 1536
"""tokens of passages at most"""
LOOKED_UP = "Use the following where it helps to answer."
Row = dict[str, Any]
Messages = list[dict[str, Any]]
T = TypeVar("T")


@dataclass(frozen=True)
class Variant:
    """One way to set up a system."""

    settings: dict[str, Any]
    """what tells it from the other ways, for the record"""
    messages: Callable[[Row], Messages]


def prompt_of(row: Row) -> Messages:
    """Everything before the reply."""
    found: Messages = row["messages"][:-1]
    return found


def variants(job: Job, system: System) -> list[Variant]:
    """The ways to set up a system, the plainest first."""
    if system == "prompt":
        return prompts(job)
    if system == "few_shot":
        return examples(job)
    if system == "rag":
        return retrievals(job)
    return [Variant({}, prompt_of)]


def prompts(job: Job) -> list[Variant]:
    spec, train = job.spec, job.run.rows("train")
    found = []
    for each in instructions(spec.data, train, metric_name(spec.evaluate.metric, spec.data)):
        settings = {"way": each.name, "system": each.system, "after": each.after}
        found.append(Variant(settings, lambda row, each=each: each.messages(prompt_of(row))))  # type: ignore[misc]
    return found


def examples(job: Job) -> list[Variant]:
    """The same examples for all rows, or the nearest ones of each."""
    train, seed = job.run.rows("train"), job.spec.data.seed
    found = []
    for way, says in (("fixed", "the same examples for every row"), ("nearest", "the most similar examples (BM25)")):
        shots = Shots(train, job.shots, seed, way)  # type: ignore[arg-type]
        settings = {"way": says, "shots": job.shots}
        found.append(Variant(settings, lambda row, shots=shots: shots.messages(prompt_of(row))))  # type: ignore[misc]
    return found


def retrievals(job: Job) -> list[Variant]:
    passages = [row["text"] for row in job.run.rows("documents")] or [passage_of(row) for row in job.run.rows("train")]
    texts, found = Texts(passages), []
    for count in PASSAGES:
        settings = {"way": f"{count} passage{'s' * (count > 1)} by BM25", "passages": count}
        found.append(Variant(settings, Retrieval(job, texts, count)))
    return found


def passage_of(row: Row) -> str:
    """A training row as something to look up."""
    return f"{asked(row)}\nAnswer: {answer(row)}"


@dataclass(frozen=True)
class Retrieval:
    """A row's question under the passages that are nearest to it, the best of them last."""

    job: Job
    texts: Texts
    count: int

    def __call__(self, row: Row) -> Messages:
        prompt = [dict(turn) for turn in prompt_of(row)]
        last = next((turn for turn in reversed(prompt) if turn["role"] == "user"), None)
        if last is None or not text_of(last):
            return prompt
        chosen: list[str] = []
        for place in self.texts.nearest(asked(row), self.count):
            held = "\n".join([*chosen, self.texts.texts[place]])
            if self.job.template.count([{"role": "user", "content": held}]) > PASSAGE_TOKENS:
                continue  # a shorter one may still fit
            chosen.append(self.texts.texts[place])
        if chosen:
            told = "\n\n".join(reversed(chosen))
            last["content"] = f"{LOOKED_UP}\n\n{told}\n\n{last['content']}"
        return prompt


Measure = Callable[[Sequence[Row], Variant], list[float]]
"""the task accuracy of each row under a variant"""


def chosen(job: Job, ways: Sequence[Variant], measure: Measure) -> dict[str, Any]:
    """`{"settings", "rows", "tried"}`: the way that is best on validation rows; on a tie the plainer one.

    The test rows are not looked at.
    """
    rows = spread(job.run.rows("validation"), job.spec.evaluate.choice_rows)
    if len(ways) == 1 or len(rows) < LEAST_CHOICE:
        return {"settings": ways[0].settings, "rows": 0, "tried": []}
    tried = []
    for way in ways:
        tried.append({**way.settings, **interval(measure(rows, way), job.scorer.binary)})
    best = max(range(len(ways)), key=lambda place: (tried[place]["value"], -place))
    return {"settings": ways[best].settings, "rows": len(rows), "tried": tried}


def spread(rows: Sequence[T], most: int) -> list[T]:
    """At most so many rows, evenly from all of them."""
    step = max(1, -(-len(rows) // max(1, most)))
    return list(rows[::step])[:most]
