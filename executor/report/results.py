"""What came out: the answer, the scores, the comparison, the errors that are left, and what was forgotten."""

from __future__ import annotations

from collections import Counter
from typing import Any

from executor.report import draw
from executor.report import figures as say
from executor.report.document import Answer, Block, Bullets, Figure, Origin, Paragraph, Section, Table, Tone
from executor.report.family import family
from executor.report.folder import RunFiles, best_system, in_order, mapping, mappings, number, subject, texts

METRICS = ("task_accuracy", "format_compliance", "style_match")
VERDICTS: dict[str, tuple[str, Tone]] = {
    "ship": ("Ship it", "good"),
    "do_not_ship": ("Do not ship it", "bad"),
    "inconclusive": ("Inconclusive", "unsure"),
}
APPROACHES = {
    "prompt": "Write a better prompt, do not fine-tune",
    "few_shot": "Use few-shot examples, do not fine-tune",
    "rag": "Use retrieval, do not fine-tune",
    "fine_tune": "Fine-tune",
    "rag_plus_fine_tune": "Use retrieval and fine-tune",
    "other": "Use another method, do not fine-tune",
}
MEASURED_BY = {"few_shot": "few_shot", "rag": "rag", "fine_tune": "fine_tuned"}
WRONG_ROWS = 10


def answer(run: RunFiles) -> Answer:
    """The verdict, else the decision, else that there is none; with figures wherever there are any."""
    verdict, compared = VERDICTS.get(str(run.summary.get("verdict"))), mapping(run.summary.get("comparison"))
    decision = mapping(run.summary.get("decision"))
    approach = APPROACHES.get(str(decision.get("approach")))
    if verdict:
        sentence = _compared(run, compared) or "No difference from another system was measured."
        return Answer(verdict[0], verdict[1], sentence, _scored(run))
    if approach:
        return Answer(approach, "plain", *_decided(run, decision))
    return Answer("No answer yet", "plain", "This run has neither a verdict nor a decision.")


def _scored(run: RunFiles) -> Origin:
    where = "evaluation/*.jsonl; intervals computed at 95 %" if run.outputs else "summary.json; intervals at 95 %"
    return Origin("measured", where)


def _compared(run: RunFiles, compared: dict[str, Any]) -> str:
    a, b, difference = compared.get("a"), compared.get("b"), number(compared.get("difference"))
    if difference is None:
        return ""
    metric = str(compared.get("metric") or "task_accuracy")
    own = _score(run, str(a), metric)
    way = "better than" if difference > 0 else "worse than" if difference < 0 else "different from"
    interval = say.between(compared.get("low"), compared.get("high"), say.points)
    parts = (f"95 % interval {interval}" if interval else "", say.p_value(compared.get("p_value")))
    inside = ", ".join(part for part in parts if part)
    gap = f"{abs(100 * difference):.1f} points {way} {say.name(b)}" + (f" ({inside})" if inside else "")
    return f"The {say.name(a)} model reaches {own}, {gap}." if own else f"The {say.name(a)} model is {gap}."


def _score(run: RunFiles, system: str, metric: str) -> str:
    cell = mapping(mapping(mapping(run.summary.get("scores")).get(system)).get(metric))
    if number(cell.get("value")) is None:
        return ""
    rows = f" on {say.whole(cell.get('n'))} test rows" if number(cell.get("n")) is not None else ""
    interval = say.between(cell.get("low"), cell.get("high"))
    return f"{say.share(cell['value'])} {say.name(metric)}{rows}" + (f" ({interval})" if interval else "")


def _decided(run: RunFiles, decision: dict[str, Any]) -> tuple[str, Origin | None]:
    scores = mapping(run.summary.get("scores"))
    system = MEASURED_BY.get(str(decision.get("approach")), "")  # "prompt" is more than one system: the best counts
    if system not in scores:
        system = best_system(scores)
    reached = _score(run, system, "task_accuracy")
    if reached:
        return f"Measured so far: {say.name(system)} reaches {reached}.", _scored(run)
    confidence = number(decision.get("confidence"))
    sure = f", with confidence {confidence:.2f}" if confidence is not None else ""
    return f"Advised by rules{sure}; nothing was measured.", Origin("estimated", "summary.json, decision")


def why(run: RunFiles) -> Section | None:
    """The reasons of verdict and decision, in their own words."""
    decision, blocks = mapping(run.summary.get("decision")), list[Block]()
    lists = (
        ("", run.summary.get("verdict_reasons")),
        ("The decision rests on:", decision.get("because")),
        ("Still unknown:", decision.get("missing")),
        ("Next:", decision.get("next")),
    )
    said: set[str] = set()
    for lead, value in lists:
        found = [text for text in texts(value) if text.split(" [")[0] not in said]
        said |= set(found)
        if found:
            blocks.append(Bullets(tuple(found), lead))
    return Section("Why", tuple(blocks)) if blocks else None


def scores(run: RunFiles) -> Section | None:
    measured = mapping(run.summary.get("scores"))
    found = {metric for cells in measured.values() for metric in mapping(cells)}
    ordered = [each for each in METRICS if each in found] + sorted(found - set(METRICS))
    drawn = [_metric(run, measured, metric) for metric in ordered]
    blocks: list[Block] = [figure for figure in drawn if figure is not None]
    human = number(run.summary.get("human_style"))
    if blocks and human is not None and "style_match" in found:
        text = (
            f"Two of the training answers match each other in style at {say.share(human)} in the median: as people do."
        )
        blocks.append(Paragraph(text, Origin("computed", "data/train.jsonl")))
    return Section("How every system scored", tuple(blocks)) if blocks else None


def _metric(run: RunFiles, measured: dict[str, Any], metric: str) -> Figure | None:
    rows, bars, about = [], [], subject(run)
    for system in in_order(set(measured)):
        cell = mapping(mapping(measured[system]).get(metric))
        value, low, high = (number(cell.get(key)) for key in ("value", "low", "high"))
        if value is None:
            continue
        interval = say.between(low, high)
        text = say.share(value) + (f"  ({interval})" if interval else "")
        bars.append(draw.Bar(say.name(system), value, low, high, text, accent=system == about))
        rows.append((say.name(system), say.share(value), interval or say.NONE, say.whole(cell.get("n"))))
    if not bars:
        return None
    says = f"{say.name(metric)}: " + "; ".join(f"{bar.label} {bar.text}" for bar in bars)
    title = say.title(metric)
    table = Table(("system", "value", "95 % interval", "test rows"), tuple(rows), (1, 2, 3), _scored(run), title)
    return Figure(draw.bars(bars, says), table, small=metric != METRICS[0])


def comparison(run: RunFiles) -> Section | None:
    compared = mapping(run.summary.get("comparison"))
    difference, low, high = (number(compared.get(key)) for key in ("difference", "low", "high"))
    if difference is None:
        return None
    metric = say.name(compared.get("metric") or "task_accuracy")
    title = f"{say.name(compared.get('a')).capitalize()} against {say.name(compared.get('b'))}"
    blocks: list[Block] = []
    if low is not None and high is not None:
        interval = say.between(low, high, say.points)
        text = f"{say.points(difference)} points  ({interval})"
        tone = "good" if low > 0 else "bad" if high < 0 else "unsure"
        drawn = draw.differences([draw.Difference("", difference, low, high, text, tone)], f"{title}: {text}")
        row = (say.points(difference), interval)
        head = ("difference in points", "95 % interval")
        blocks.append(Figure(drawn, Table(head, (row,), (0, 1), title=f"{title}, {metric}")))
    origin = Origin("computed", "summary.json, from the scores of both systems")
    blocks.append(Paragraph(_in_words(compared, low, high), origin))
    if table := family(mappings(run.summary.get("comparisons"))):
        blocks.append(table)
    return Section("Is the difference real?", tuple(blocks))


def _in_words(compared: dict[str, Any], low: float | None, high: float | None) -> str:
    said = []
    if low is not None and high is not None and low <= 0 <= high:
        said.append("The 95 % interval holds zero, so this test cannot tell the two apart.")
    elif low is not None and high is not None:
        side = "above" if low > 0 else "below"
        said.append(f"The whole 95 % interval lies {side} zero.")
    test, chance = compared.get("test"), say.p_value(compared.get("p_value"))
    if chance:
        said.append(chance + (f" ({say.plain(test)})." if test else "."))
    if number(compared.get("n")) is not None:
        said.append(f"Compared on {say.whole(compared['n'])} test rows.")
    smallest = number(compared.get("detectable_difference"))
    if smallest is not None:
        said.append(f"The smallest difference that so many rows can detect is {100 * smallest:.1f} points.")
    return " ".join(said)


def errors(run: RunFiles) -> Section | None:
    """Rows that the model in question gets wrong, the most frequent confusion first."""
    system = subject(run)
    judged = [(line, correct) for line in run.outputs.get(system, []) if (correct := _correct(line)) is not None]
    if not judged:
        return None
    origin = Origin("measured", f"evaluation/{system}.jsonl")
    wrong = [line for line, correct in judged if correct < 1]
    if not wrong:
        text = f"The {say.name(system)} model has all {len(judged):,} test rows right."
        return Section("Where it still errs", (Paragraph(text, origin),))
    blocks: list[Block] = [Paragraph(_error_counts(system, judged, len(wrong)), origin)]
    seen = Counter(_confusion(line) for line in wrong)
    wrong.sort(key=lambda line: (-seen[_confusion(line)], _correct(line) or 0.0))
    rows = tuple(
        (*map(say.cut, _confusion(line)), say.cut(message(line)), str(seen[_confusion(line)]))
        for line in wrong[:WRONG_ROWS]
    )
    title = f"{len(rows)} of {len(wrong):,} such rows" if len(rows) < len(wrong) else ""
    blocks.append(Table(("expected", "output", "message", "times confused"), rows, (3,), title=title))
    return Section("Where it still errs", tuple(blocks))


def _correct(line: dict[str, Any]) -> float | None:
    return number(mapping(line.get("scores")).get("task_accuracy"))


def _confusion(line: dict[str, Any]) -> tuple[str, str]:
    return str(line.get("expected") or ""), str(line.get("output") or "(empty)")


def message(line: dict[str, Any]) -> str:
    """The last user message of the prompt."""
    prompt = line.get("prompt")
    for each in reversed(prompt if isinstance(prompt, list) else []):
        if mapping(each).get("role") == "user":
            return str(mapping(each).get("content") or "")
    return say.NONE


def _error_counts(system: str, judged: list[tuple[dict[str, Any], float]], wrong: int) -> str:
    word = "not fully right" if any(0 < correct < 1 for _, correct in judged) else "wrong"
    text = f"The {say.name(system)} model is {word} on {wrong:,} of {len(judged):,} test rows."
    groups: dict[str, list[float]] = {}
    for line, correct in judged:
        groups.setdefault(str(line.get("expected") or ""), []).append(correct)
    if len(groups) < 2 or len(groups) * 2 > len(judged):  # answers that hardly repeat are no labels
        return text
    label, values = min(groups.items(), key=lambda group: (sum(group[1]) / len(group[1]), -len(group[1]), group[0]))
    right = sum(value >= 1 for value in values)
    return f"{text} The worst label is “{say.cut(label, 80)}”: {right} of {len(values)} right."


def regressions(run: RunFiles) -> Section | None:
    suites = {suite: mapping(cells) for suite, cells in mapping(run.summary.get("regression")).items()}
    tones = {"kept": "good", "lost": "bad", "unclear": "unsure"}
    rows, drawn = [], []
    for suite, cells in suites.items():
        difference, low, high = (number(cells.get(key)) for key in ("difference", "low", "high"))
        verdict, interval = str(cells.get("verdict")), say.between(low, high, say.points)
        change = say.points(difference)
        rows.append((suite.replace("_", " "), say.share(cells.get("before")), say.share(cells.get("after")), change,
                     interval or say.NONE, say.whole(cells.get("n")), verdict))  # fmt: skip
        if difference is not None and low is not None and high is not None:
            text = f"{verdict}  {change}  ({interval})"
            tone = tones.get(verdict, "plain")
            drawn.append(draw.Difference(suite.replace("_", " "), difference, low, high, text, tone))
    if not rows:
        return None
    head = ("suite", "before", "after", "change, points", "95 % interval", "questions", "verdict")
    origin = Origin("measured", "the same questions before and after training; intervals computed at 95 %")
    table = Table(head, tuple(rows), (1, 2, 3, 4, 5), origin, "General abilities, before and after training")
    says = "; ".join(f"{row.label} {row.text}" for row in drawn)
    block = Figure(draw.differences(drawn, says), table, both=True) if drawn else table
    return Section("What it may have forgotten", (block,))
