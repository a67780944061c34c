"""Slash commands: the one table behind the prompt, its suggestions, the command palette and the help."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`/name argument`."""

    name: str
    argument: str
    """what may follow, for the help; empty: nothing"""
    does: str

    @property
    def usage(self) -> str:
        return f"/{self.name} {self.argument}".rstrip()


COLUMN = 24
"""characters of the usage, in lists"""
COMMANDS = (
    Command("situation", "", "what I understood of your task so far"),
    Command("model", "[PROVIDER:NAME]", "which mind answers, or another one"),
    Command("chats", "[WORDS]", "saved chats: search, resume"),
    Command("new", "", "begin another chat"),
    Command("runs", "", "every run of this workspace"),
    Command("run", "[RUN]", "show a run beside the chat, or the newest"),
    Command("resume", "[RUN]", "go on with a run, or the newest that was stopped"),
    Command("stop", "", "stop the run that is shown"),
    Command("try", "[RUN]", "ask a tuned model and its base the same"),
    Command("review", "SAMPLE", "keep, drop or edit rows, one at a time"),
    Command("copy", "", "copy the last answer"),
    Command("save", "FILE.md", "write this chat into a file"),
    Command("theme", "[NAME]", "choose the colours"),
    Command("help", "", "keys and commands"),
    Command("quit", "", "leave; a running job goes on"),
)


def parse(text: str) -> tuple[str, str] | None:
    """(name, argument) of a slash command; None for any other text, a path such as /data/x.csv among them."""
    if not text.startswith("/") or "\n" in text:
        return None
    name, _, argument = text[1:].partition(" ")
    return (name.lower(), argument.strip()) if name.isalpha() else None


def hints(text: str) -> list[str]:
    """What a command that is being written may become, a line each; nothing for any other text."""
    if not text.startswith("/") or " " in text or "\n" in text:
        return []
    fit = [each for each in COMMANDS if each.name.startswith(text[1:].lower())]
    return [f"{each.usage:<{COLUMN}}{each.does}" for each in fit]


def known(name: str) -> bool:
    return any(command.name == name for command in COMMANDS)
