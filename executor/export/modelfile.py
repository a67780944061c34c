"""An Ollama Modelfile from the training template: found by rendering, held against every test row before it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executor.template import ChatTemplate

Messages = Sequence[dict[str, Any]]
MARK = "\u2063{}\u2063"
"""stands for a text while the template is taken apart; no template changes it"""
QUOTED = '"""'


@dataclass(frozen=True)
class Turns:
    """A template that writes each turn as prefix, text, suffix."""

    prefix: dict[str, str]
    """of system, user and assistant"""
    suffix: str
    reply: str
    """what stands before the answer"""
    default: str | None
    """the system message that the template sets where there is none"""
    begin: str = ""
    """what begins every prompt, once"""

    def render(self, messages: Messages) -> str:
        """The prompt as Ollama will write it; the start of a text, which the file may say is added, stands there."""
        turns = list(messages)
        if self.default is not None and (not turns or turns[0]["role"] != "system"):
            turns = [{"role": "system", "content": self.default}, *turns]
        told = "".join(f"{self.prefix[t['role']]}{t['content']}{self.suffix}" for t in turns)
        return self.begin + told + self.reply

    def go(self, begun: bool = False) -> str:
        """The same as a Go template over `.Messages`; no `{{-`, which would eat the line ends that belong to turns.

        `begun`: Ollama itself puts the start token before a text, so that the template must not.
        """
        cases = "".join(
            f'{{{{ {word} eq .Role "{role}" }}}}{self.prefix[role]}{{{{ .Content }}}}{self.suffix}'
            for word, role in (("if", "system"), ("else if", "user"), ("else if", "assistant"))
        )
        lead = "" if begun else self.begin
        if self.default is not None:
            own = f"{self.prefix['system']}{self.default}{self.suffix}"
            lead += f'{{{{ if ne (index .Messages 0).Role "system" }}}}{own}{{{{ end }}}}'
        return f"{lead}{{{{ range .Messages }}}}{cases}{{{{ end }}}}{{{{ end }}}}{self.reply}"


def turns_of(template: ChatTemplate) -> Turns | None:
    """The parts of a template that writes turn after turn; None for one that does anything else."""
    begin = template.special.get("bos_token") or ""
    texts = [MARK.format(n) for n in range(4)]
    roles = ("system", "user", "assistant", "user")
    try:
        whole = template.render([{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)], prompt=True)
        bare = template.render([{"role": "user", "content": texts[1]}], prompt=True)
    except Exception:  # a template is foreign code
        return None
    begin = begin if begins(template, begin, whole, bare) else ""
    whole, bare = whole.removeprefix(begin), bare.removeprefix(begin)
    if not all(whole.count(text) == 1 for text in texts):
        return None
    lead, *between = pieces(whole, texts)
    after_system, after_user, after_reply, end = between
    suffix = shared_suffix(after_system, after_user, after_reply)
    prefix = {"user": after_system[len(suffix) :], "assistant": after_user[len(suffix) :]}
    if after_reply[len(suffix) :] != prefix["user"] or not end.startswith(suffix):
        return None
    return Turns(
        prefix={"system": lead, **prefix}, suffix=suffix, reply=end[len(suffix):], begin=begin,
        default=default_of(bare, texts[1], lead, suffix, prefix["user"]),
    )  # fmt: skip


def begins(template: ChatTemplate, token: str, *prompts: str) -> bool:
    """Whether the start token begins the text as such; in ChatML it is also what begins every turn."""
    turns = template.render([{"role": "user", "content": MARK}, {"role": "assistant", "content": MARK}])
    return bool(token) and all(each.startswith(token) for each in prompts) and turns.count(token) == 1


def pieces(text: str, marks: Sequence[str]) -> list[str]:
    """What stands before, between and after the marks."""
    found = []
    for mark in marks:
        before, _, text = text.partition(mark)
        found.append(before)
    return [*found, text]


def shared(a: str, b: str) -> str:
    """The beginning that both texts have."""
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:n]


def shared_suffix(*between: str) -> str:
    """What ends every turn: what is common after each text, without the part of the next turn's tag that is common too.

    ChatML ends a turn with `<|im_end|>` and a new line; all turns begin with `<|im_start|>`, which is the next one's.
    """
    common = between[0]
    for each in between[1:]:
        common = shared(common, each)
    for opening in ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|", "[INST]"):
        place = common.rfind(opening)
        if place > 0:
            return common[:place]
    return common


def default_of(bare: str, text: str, lead: str, suffix: str, user: str) -> str | None:
    """The system message of a prompt that was given none."""
    before = bare.partition(text)[0]
    if not before.endswith(user):
        return None
    head = before[: len(before) - len(user)]
    return (
        head[len(lead) : len(head) - len(suffix)] if head.startswith(lead) and head.endswith(suffix) and head else None
    )


@dataclass(frozen=True)
class Told:
    """What Ollama is to be told beside the template: its own defaults are others than those of the proof."""

    context: int
    """tokens of a prompt and its answer; what is longer Ollama cuts without a word"""
    system: str | None = None
    """the system message of the training"""


def modelfile(
    template: ChatTemplate, gguf: str, rows: Sequence[Messages], told: Told, begun: bool = False
) -> tuple[str, str]:
    """(the Modelfile, why it cannot be had). It is kept only if it writes every test row's prompt as training did.

    `begun`: the GGUF file says that a start token is to be added to every text, as Ollama then does.
    """
    found = turns_of(template)
    if found is None:
        return "", "Template: it does not write turn after turn, so Ollama's own templates cannot say it."
    if begun and not found.begin:
        return "", "Doubled BOS: the file has a start token added that the prompts of training do not begin with."
    wrong = sum(found.render(messages) != template.render(messages, prompt=True) for messages in rows)
    if wrong:
        return "", f"Template: {wrong} of {len(rows)} prompts would differ in Ollama."
    stops = [template.tokenizer.id_to_token(token) for token in sorted(template.end_ids)]
    lines = [f"FROM ./{gguf}", f"TEMPLATE {QUOTED}{found.go(begun)}{QUOTED}", *system_lines(told.system)]
    lines += [*(f'PARAMETER stop "{stop}"' for stop in stops), "PARAMETER temperature 0"]
    lines += [f"PARAMETER num_ctx {told.context}", "PARAMETER repeat_penalty 1"]
    return "\n".join(lines) + "\n", ""


def system_lines(system: str | None) -> list[str]:
    """Ollama puts SYSTEM before a conversation that begins with no system message, and changes no other."""
    if not system:
        return []
    if QUOTED in system or not all(letter.isprintable() or letter in "\n\t" for letter in system):
        return ["# The system message cannot be written here unchanged: send the one in export.json with every chat."]
    return [f"SYSTEM {QUOTED}{system}{QUOTED}"]
