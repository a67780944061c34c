"""A run's model in memory, tuned and untuned: one set of weights, the adapter switched on or off."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from executor.serve.request import ChatRequest, Piece, Refused
from executor.serve.worker import Emit
from executor.template import ChatTemplate
from executor.train.model import load_adapter, load_base

BASE = "base"


class Model:
    """Answers one request at a time. Greedy unless a temperature is asked for, as it was evaluated."""

    def __init__(self, name: str, base: Path, tuned: Path | None, dtype: str) -> None:
        """`tuned` is an adapter for `base`, or a whole model, or None for `base` alone."""
        self.template = ChatTemplate(base)
        self.adapted = tuned is not None and (tuned / "adapter_config.json").exists()
        if tuned is not None and self.adapted:
            self.tuned = load_adapter(load_base(base, dtype), tuned)
        else:
            self.tuned = load_base(tuned or base, dtype)
        self.untuned = load_base(base, dtype) if tuned is not None and not self.adapted else None
        self.names: tuple[str, ...] = (name, BASE) if tuned is not None else (name,)

    def prepare(self, request: ChatRequest) -> list[int]:
        """The prompt's tokens. Raises Refused for a conversation that template or model cannot take."""
        try:
            prompt = self.template.prompt_ids(request.messages, request.offered)
        except Exception as error:  # a template is foreign code
            raise Refused(400, " ".join(str(error).split())[:300], "invalid_messages", "messages") from None
        longest = self.tuned.config.max_position_embeddings
        if len(prompt) >= longest:
            what = f"The conversation has {len(prompt)} tokens; the model takes {longest}."
            raise Refused(400, what, "context_length_exceeded", "messages")
        return prompt

    def answer(self, request: ChatRequest, prompt: list[int], emit: Emit, stop: threading.Event) -> None:
        """By transformers' own generation."""
        plain = self.tuned.disable_adapter() if request.model == BASE and self.adapted else nullcontext()
        model = self.untuned if request.model == BASE and self.untuned is not None else self.tuned
        limit = min(request.limit, self.tuned.config.max_position_embeddings - len(prompt))
        ids, ends = torch.tensor([prompt], device=model.device), sorted(self.template.end_ids)
        written = Written(self.template, request.stops, emit, stop)
        chosen: dict[str, Any] = {"do_sample": False}
        if request.temperature:
            chosen = {"do_sample": True, "temperature": request.temperature, "top_p": request.top_p or 1.0, "top_k": 0}
        with plain, torch.inference_mode():
            if request.seed is not None:
                torch.manual_seed(request.seed)
            model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, streamer=written,
                eos_token_id=ends or None, pad_token_id=ends[0] if ends else None,
                stopping_criteria=[Enough(written)], **chosen,
            )  # fmt: skip
        written.finish(len(prompt))


class Written(BaseStreamer):  # type: ignore[misc]  # untyped
    """Tokens as text, cut at a stop text; what may be the beginning of one waits, and so does half a character."""

    def __init__(self, template: ChatTemplate, stops: tuple[str, ...], emit: Emit, stop: threading.Event) -> None:
        self.template, self.stops, self.emit, self.stop = template, stops, emit, stop
        self.hold = max((len(each) for each in stops), default=1) - 1
        self.ids: list[int] = []
        self.said = ""
        self.prompt = True
        self.ended = self.cut = False

    def put(self, value: torch.Tensor) -> None:
        if self.prompt:  # the first that comes is the prompt
            self.prompt = False
            return
        for token in value.flatten().tolist():
            self.add(token)

    def add(self, token: int) -> None:
        if self.cut or token in self.template.end_ids:
            self.ended = True
            return
        self.ids.append(token)
        text = self.text
        cut = min((text.find(stop) for stop in self.stops if stop in text), default=-1)
        if cut >= 0:
            self.cut = self.ended = True
            self.tell(text[:cut])
        elif not text.endswith("\ufffd"):
            self.tell(text[: len(text) - self.hold])

    @property
    def text(self) -> str:
        return str(self.template.tokenizer.decode(self.ids))

    def tell(self, text: str) -> None:
        if len(text) > len(self.said):
            self.emit(Piece(text[len(self.said) :]))
            self.said = text

    def end(self) -> None:
        """Called by `generate`; the last piece is told by `finish`."""

    def finish(self, prompt: int) -> None:
        rest = "" if self.cut else self.text[len(self.said) :]
        counted = len(self.ids) + (self.ended and not self.cut)
        self.emit(Piece(rest, "stop" if self.ended else "length", prompt, counted))


class Enough(StoppingCriteria):  # type: ignore[misc]  # untyped
    """Ends a generation at a stop text, or when nobody waits for it."""

    def __init__(self, written: Written) -> None:
        self.written = written

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        enough = self.written.cut or self.written.stop.is_set()
        return torch.full((input_ids.shape[0],), enough, device=input_ids.device)
