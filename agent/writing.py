"""The offline advisor's answers: put together from tool results, the answer first, short, nothing invented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.heard import CHOICE

if TYPE_CHECKING:
    from langchain_core.messages import ToolMessage

    from agent.heard import Said

WORDS = 190
LEAD_SHARE = 0.7
"""of the words go to the first result when there are several"""
QUESTIONS = 3

ORDER = (
    "go", "train", "export", "compare", "evaluate", "decide", "diagnose", "data_format", "data_check", "plan",
    "recommend_models", "runs", "data_inspect", "look_up",
)  # fmt: skip
"""Which result leads the answer."""

LEADS = {
    "decide": 0.85,
    "diagnose": 0.8,
    "data_check": 0.8,
    "plan": 0.6,
    "recommend_models": 0.5,
    "runs": 0.3,
    "look_up": 0.3,
}
"""From this share on what was looked up answers the question itself and leads before that result."""

FACT = 0.3
"""The same where the question is for one name or number."""

UNSURE = 0.35
"""A decision that is no surer says only where to begin."""

WHO = (
    "I am the Fine-Tuning Assistant, an AI system: offline I answer from rules, cards and dated facts, and I keep to "
    "them. Tell me your task and what you have tried, ask about tuning, or name a data file, a log or a run. "
    "`Should I fine-tune for ...?` is a good beginning; `guide me` walks the whole way."
)

STEPS = (
    "**The way:** 1. decide → 2. data: inspect, check, split → 3. baseline: the same test rows through the plain "
    "prompt and few-shot examples → 4. train, if it can still pay → 5. evaluate and deliver, or stop."
)
ASK_FILE = "Which file holds your examples? Name its path, and I inspect and check it."
NO_STOPPED = "No run was stopped, so there is none to go on with."
ASK_TASK = "What goes in and what should come out, in one sentence?"
ASK_TARGET = "Which accuracy would be good enough?"


def write_answer(now: Said) -> str:
    """The answer to the user's last words, as Markdown."""
    if not now.results:
        return WHO
    lead, *rest = bodies(in_order(now)) or [""]
    parts = [now.language.note if now.language else "", started(now), lead, STEPS if now.begins else "", *rest]
    questions = [question for question in asked(now) if not any(question in part for part in parts)]
    if questions:
        parts.append("**To go on, tell me:**\n" + "\n".join(f"{n}. {q}" for n, q in enumerate(questions, 1)))
    return "\n\n".join(part for part in parts if part)


def started(now: Said) -> str:
    """The first sentence where a step waited for the user's approval, or there was none to go on with."""
    refused = next((result for result in now.results if was_refused(result)), None)
    if refused is None:
        return NO_STOPPED if now.resumes == "" and {result.name for result in now.results} == {"runs"} else ""
    return (
        f"I did not start `{refused.name}`: it was not approved, and I will not ask again unless you do. "
        "Tell me what to change (the base model, the time budget, the accuracy you need), or run the command yourself."
    )


def was_refused(result: ToolMessage) -> bool:
    """Whether the human-in-the-loop middleware answered instead of the tool."""
    return result.status == "error" and result.text.startswith("User rejected the tool call")


def in_order(now: Said) -> list[ToolMessage]:
    """The newest result of each tool, the leading one first, refused ones left out."""
    newest = {result.name: result for result in now.results}
    if "go" in newest:
        newest.pop("plan", None)  # the user saw it before approving, and a started run repeats it
    if "train" in newest:
        newest.pop("runs", None)  # it told which run was stopped; now it goes on
    newest = {name: result for name, result in newest.items() if not was_refused(result)}
    ranked = sorted(newest.values(), key=lambda each: ORDER.index(each.name) if each.name in ORDER else len(ORDER))
    decided, looked = newest.get("decide"), newest.get("look_up")
    if decided and len(ranked) > 1 and not now.decides:
        ranked.remove(decided)
        ranked.append(decided)
    if decided and looked and unsaid(decided) and share_of(looked) >= FACT and not CHOICE.search(now.question):
        ranked.remove(decided)
    if looked and len(ranked) > 1 and share_of(looked) >= (FACT if now.precise else needed_to_lead(ranked[0])):
        ranked.remove(looked)
        ranked.insert(0, looked)
    return ranked


def unsaid(decided: ToolMessage) -> bool:
    """Whether the decision had nothing stated to go by."""
    decision = (decided.artifact or {}).get("decision") or {}
    return bool(decision) and decision["confidence"] <= UNSURE


def share_of(looked: ToolMessage) -> float:
    """How much of the question the looked-up answer holds."""
    return float((looked.artifact or {}).get("share", 0.0))


def needed_to_lead(result: ToolMessage) -> float:
    """From which share on an answer that was looked up goes before this result; less before an unsure decision."""
    decision = (result.artifact or {}).get("decision") if result.name == "decide" else None
    if decision and decision["confidence"] <= UNSURE:
        return LEADS["look_up"]
    return LEADS.get(str(result.name), 2.0)


def bodies(results: list[ToolMessage]) -> list[str]:
    """The results' texts, cut to the length of an answer."""
    parts, left = [], WORDS
    for at, result in enumerate(results):
        share = int(left * LEAD_SHARE) if at == 0 and len(results) > 1 else left
        failed = f"`{result.name}` could not be done: " if result.status == "error" else ""
        text = failed + result.text
        kept = shortened(text, share)
        if kept:
            parts.append(kept)
            left -= len(kept.split())
    return parts


def shortened(text: str, words: int) -> str:
    """As many whole lines as fit; a first line that is too long ends after a sentence, or is cut."""
    kept: list[str] = []
    left = words
    for line in text.strip().splitlines():
        length = len(line.split())
        if length > left:
            if not any(kept):
                return first_sentences(line, words)
            break
        kept.append(line)
        left -= length
    return "\n".join(kept).rstrip()


def first_sentences(line: str, words: int) -> str:
    """Whole sentences of a line up to `words`; where the first is longer, its first words."""
    kept = ""
    for sentence in line.replace("? ", "?\n").replace(". ", ".\n").split("\n"):
        longer = f"{kept} {sentence}".strip()
        if len(longer.split()) > words:
            break
        kept = longer
    return kept or (" ".join(line.split()[:words]) + " …" if words > 0 else "")


def asked(now: Said) -> list[str]:
    """What is missing, most decisive first."""
    questions: list[str] = []
    decide = next((each for each in in_order(now) if each.name == "decide"), None)
    if decide is not None and isinstance(decide.artifact, dict):
        questions += (decide.artifact.get("decision") or {}).get("missing") or []
    if now.path is None:
        if now.resumes is not None:
            return questions
        if now.route.intent == "train" and not now.begins and now.result("plan") is None:
            questions += [ASK_FILE, ASK_TASK, ASK_TARGET]
        elif now.route.intent == "prepare_data" or now.begins:
            questions += [ASK_FILE]
    return questions[:QUESTIONS]
