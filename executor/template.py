"""Chat templates rendered and tokenised without torch, and the spans of text that the loss may see.

Rendering follows transformers: sandboxed jinja2 with trimmed blocks, loop controls, the `{% generation %}` tag,
`raise_exception`, `strftime_now` and an order-keeping `tojson`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from executor.errors import UserError

Message = dict[str, Any]


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of the rendered text, and whether the loss sees them."""

    start: int
    end: int
    trained: bool


class GenerationTag(Extension):
    """`{% generation %} ... {% endgeneration %}` renders its body; the spans are found by rendering, not by tags."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it as an instance attribute)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """The template and tokenizer of a model folder (`tokenizer.json`, `tokenizer_config.json`, a chat template)."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError where the folder has no tokenizer or no chat template, or they cannot be read."""
        self.folder = folder
        try:
            self.config: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            self.source = self.find_source()
            self.template = environment().from_string(self.source)
        except (OSError, ValueError) as error:
            raise UserError("No tokenizer here", str(folder), "Name a folder saved by transformers.") from error
        except TemplateError as error:
            raise UserError(f"The chat template is not valid: {error}", str(folder), "Correct the template.") from error
        self.special = {k: text_of(v) for k, v in self.config.items() if k.endswith("_token") and v is not None}

    def find_source(self) -> str:
        file = self.folder / "chat_template.jinja"
        if file.exists():
            return file.read_text(encoding="utf-8")
        template = self.config.get("chat_template")
        if isinstance(template, list):  # several named templates: the default one
            template = next((t["template"] for t in template if t["name"] == "default"), None)
        if not isinstance(template, str):
            fix = "Choose an instruct model, or add a chat_template.jinja to the folder."
            raise UserError("The model has no chat template", str(self.folder), fix)
        return template

    @cached_property
    def tokenizer(self) -> Tokenizer:
        try:
            return Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            fix = "Save a fast tokenizer there with transformers."
            raise UserError(f"Cannot read tokenizer.json: {error}", str(self.folder), fix) from error

    @cached_property
    def end_ids(self) -> set[int]:
        """Ids that end a turn: the tokenizer's EOS and those of generation_config.json."""
        ids = {self.tokenizer.token_to_id(self.special["eos_token"])} if "eos_token" in self.special else set()
        file = self.folder / "generation_config.json"
        if file.exists():
            named = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
            ids |= set(named if isinstance(named, list) else [named])
        return {i for i in ids if i is not None}

    def render(self, messages: Sequence[Message], prompt: bool = False, tools: list[Any] | None = None) -> str:
        """The text of a conversation; with `prompt`, up to where the assistant starts to write."""
        try:
            return self.written(messages, prompt, tools)
        except Exception as error:  # a template is foreign code: it may raise anything
            fix = "Choose a base model whose template takes such rows, or change the rows."
            raise UserError(f"The chat template refuses the messages: {error}", str(self.folder), fix) from error

    def written(self, messages: Sequence[Message], prompt: bool, tools: list[Any] | None) -> str:
        """What the template makes of the messages; keys that are null are left out, as transformers leaves them out.

        Beside tool calls a content may be null. A template that would add it to a text fails: it is given an empty
        one, as servers do.
        """
        given = [{key: value for key, value in message.items() if value is not None} for message in messages]

        def made(of: list[Message]) -> str:
            return self.template.render(
                messages=of, tools=tools, documents=None, add_generation_prompt=prompt, **self.special
            )

        try:
            return made(given)
        except Exception:  # as above
            if all("content" in message for message in given):
                raise
            return made([{"content": "", **message} for message in given])

    def encode(self, text: str) -> list[int]:
        """Token ids of rendered text; special tokens come from the template, none are added (no doubled BOS)."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prompt_ids(self, messages: Sequence[Message], tools: list[Any] | None = None) -> list[int]:
        return self.encode(self.render(messages, prompt=True, tools=tools))

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of a whole conversation as trained."""
        return len(self.encode(self.render(messages)))

    def spans(self, messages: Sequence[Message], tools: list[Any] | None = None) -> tuple[str, list[Span]]:
        """The rendered conversation and its spans; the assistant's turns are trained unless their `weight` is 0.

        A turn's span starts where its generation prompt ends, so training continues exactly the text that the
        model is given in use. Where a template writes a past turn differently (dropping earlier reasoning, say),
        the span starts at the reply's own text.
        """
        full = self.render(messages, tools=tools)
        spans: list[Span] = []
        position = 0
        for index, message in enumerate(messages):
            if message.get("role") != "assistant":
                continue
            start, end = self.turn(full, messages, index, position, tools)
            spans += [Span(position, start, False), Span(start, end, message.get("weight", 1) != 0)]
            position = end
        spans.append(Span(position, len(full), False))
        return full, [span for span in spans if span.end > span.start]

    def turn(
        self, full: str, messages: Sequence[Message], index: int, position: int, tools: list[Any] | None
    ) -> tuple[int, int]:
        """Start and end, in `full`, of what the assistant writes in turn `index`."""
        before = self.render(messages[:index], prompt=True, tools=tools) if index else ""
        after = self.render(messages[: index + 1], tools=tools)
        if before and full.startswith(before) and full.startswith(after) and len(after) > len(before):
            return len(before), len(after)
        content = text_of(messages[index].get("content") or "").strip()
        written = (content, content.rpartition("</think>")[2].strip())  # templates drop the reasoning of past turns
        asked = max(position, shared_start(before, full))  # a reply's words may stand in the question too
        places = ((full.find(text, place), text) for text in written if text for place in (asked, position))
        start, text = next(((place, text) for place, text in places if place >= 0), (-1, ""))
        if start < 0:
            fix = "Check the template, or choose another base model."
            raise UserError(f"Cannot find reply {index + 1} in the rendered conversation", str(self.folder), fix)
        end = len(after) if full.startswith(after) else start + len(text)
        return start, max(end, start + len(text))


def shared_start(a: str, b: str) -> int:
    """Length of the beginning that both texts share."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def text_of(value: Any) -> str:
    """A token or content as text: plain, or `{"content": ...}` as tokenizer files write added tokens."""
    return str(value["content"]) if isinstance(value, dict) else str(value)


def environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationTag])
    made.filters["tojson"] = to_json
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike jinja2's own filter it escapes nothing for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)
