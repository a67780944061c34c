"""A run's model in memory, tuned and untuned: one set of weights, the adapter switched on or off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from executor.serve.request import ChatRequest, Piece, Refused
from executor.template import ChatTemplate
from executor.train.model import load_adapter, load_base

BASE = "base"


class Model:
    """Answers one request at a time; others wait. Greedy unless a temperature is asked for, as it was evaluated."""

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
        self.turn = threading.Lock()

    def answer(self, request: ChatRequest) -> Answer:
        """The answer as it is computed. Raises Refused for a conversation that template or model cannot take."""
        try:
            prompt = self.template.prompt_ids(request.messages, request.tools)
        except Exception as error:  # a template is foreign code
            raise Refused(400, " ".join(str(error).split())[:300], "invalid_messages", "messages") from None
        room = self.tuned.config.max_position_embeddings - len(prompt)
        if room < 1:
            what = f"The conversation has {len(prompt)} tokens; the model takes {room + len(prompt)}."
            raise Refused(400, what, "context_length_exceeded", "messages")
        left = Left()
        return Answer(self.pieces(request, prompt, min(request.limit, room), left), left)

    def pieces(self, request: ChatRequest, prompt: list[int], limit: int, left: Left) -> Iterator[Piece]:
        tokens = Tokens()
        work = threading.Thread(target=self.generate, args=(request, prompt, limit, tokens, left), daemon=True)
        work.start()  # it waits its turn: a reader who goes away holds nobody up
        yield from told(tokens, self.template, request.stops, len(prompt), limit)

    def generate(self, request: ChatRequest, prompt: list[int], limit: int, tokens: Tokens, left: Left) -> None:
        """Transformers' own generation; its tokens come through `tokens`, and so does what went wrong."""
        plain = self.tuned.disable_adapter() if request.model == BASE and self.adapted else nullcontext()
        model = self.untuned if request.model == BASE and self.untuned is not None else self.tuned
        ids, ends = torch.tensor([prompt], device=model.device), sorted(self.template.end_ids)
        chosen: dict[str, Any] = {"do_sample": False}
        if request.temperature:
            chosen = {"do_sample": True, "temperature": request.temperature, "top_p": request.top_p or 1.0, "top_k": 0}
        try:
            with self.turn, plain, torch.inference_mode():
                if request.seed is not None:
                    torch.manual_seed(request.seed)
                model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, streamer=tokens,
                    eos_token_id=ends or None, pad_token_id=ends[0] if ends else None, stopping_criteria=[left],
                    **chosen,
                )  # fmt: skip
        except Exception as error:  # told where the answer is read
            tokens.queue.put(error)
        finally:
            tokens.end()


class Answer:
    """The pieces of one answer; `stop` ends the computation."""

    def __init__(self, pieces: Iterator[Piece], left: Left) -> None:
        self.pieces, self.left = pieces, left

    def __iter__(self) -> Iterator[Piece]:
        return self.pieces

    def stop(self) -> None:
        self.left.event.set()


def told(tokens: Tokens, template: ChatTemplate, stops: tuple[str, ...], prompt: int, limit: int) -> Iterator[Piece]:
    """Tokens as text, cut at a stop text; what may be the beginning of one waits."""
    ids: list[int] = []
    said = ""
    reason: Literal["stop", "length"] = "length"
    hold = max((len(stop) for stop in stops), default=1) - 1
    for token in tokens:
        if token in template.end_ids:
            reason = "stop"
            break
        ids.append(token)
        text = template.tokenizer.decode(ids)
        cut = min((text.find(stop) for stop in stops if stop in text), default=-1)
        if cut >= 0:
            yield Piece(text[len(said) : cut], "stop", prompt, len(ids))
            return
        whole = text[: len(text) - hold] if not text.endswith("\ufffd") else said  # half a character waits
        if len(whole) > len(said):
            yield Piece(whole[len(said) :])
            said = whole
    rest = template.tokenizer.decode(ids)[len(said) :]
    yield Piece(rest, reason, prompt, len(ids) + (reason == "stop"))


class Tokens(BaseStreamer):  # type: ignore[misc]  # untyped
    """The new tokens, as they come."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[int | Exception | None] = SimpleQueue()
        self.prompt = True

    def put(self, value: torch.Tensor) -> None:
        if self.prompt:  # the first that comes is the prompt
            self.prompt = False
            return
        for token in value.flatten().tolist():
            self.queue.put(token)

    def end(self) -> None:
        self.queue.put(None)

    def __iter__(self) -> Iterator[int]:
        while (token := self.queue.get()) is not None:
            if isinstance(token, Exception):
                raise token
            yield token


class Left(StoppingCriteria):  # type: ignore[misc]  # untyped
    """Ends a generation that nobody waits for."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.event.is_set(), device=input_ids.device)
