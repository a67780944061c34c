"""Questions to an OpenAI-compatible server, by the openai SDK; answers that came are kept if the run is stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import openai

from executor.errors import ServiceError, UserError
from executor.evaluate.ask import Messages, Reply
from executor.files import append_jsonl, read_jsonl
from executor.spec import EndpointSpec

AT_ONCE = 4
"""requests under way together"""
SECONDS = 120.0
RETRIES = 4
"""of the SDK, with growing pauses: connection faults, 408, 409, 429 and 5xx"""
NO_KEY = "none"
"""what a server that asks for no key is sent"""


class Endpoint:
    """One model on one server. Temperature 0; a server that refuses an option is asked without it."""

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        key = os.environ.get(spec.key) or NO_KEY
        self.client = openai.OpenAI(base_url=spec.url, api_key=key, timeout=SECONDS, max_retries=RETRIES)
        self.length, self.temperature = "max_tokens", True

    def answers(self, asked: Sequence[Messages], limit: int, kept: Path, report: Callable[[int], None]) -> list[Reply]:
        """The replies in the order given. `kept` gathers them as they come; those it holds are not asked again.

        Raises UserError for a wrong key or model, ServiceError where the server fails.
        """
        found = {line["row"]: Reply(**line["reply"]) for line in (read_jsonl(kept) if kept.exists() else [])}
        kept.parent.mkdir(parents=True, exist_ok=True)
        left = [row for row in range(len(asked)) if row not in found]
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            pending = {pool.submit(self.answer, asked[row], limit): row for row in left}
            for done in as_completed(pending):
                row = pending[done]
                found[row] = done.result()
                append_jsonl(kept, {"row": row, "reply": vars(found[row])})
                report(len(found))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return [found[row] for row in range(len(asked))]

    def answer(self, messages: Messages, limit: int) -> Reply:
        started = time.perf_counter()
        response = self.request(messages, limit)
        choice = response.choices[0].message if response.choices else None
        text = (choice.content or "") if choice else ""
        usage = response.usage
        seconds = time.perf_counter() - started
        prompt, output = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        return Reply(text.strip(), prompt, output, seconds)

    def request(self, messages: Any, limit: int) -> Any:
        options: dict[str, Any] = {self.length: limit} | ({"temperature": 0} if self.temperature else {})
        try:
            return self.client.chat.completions.create(model=self.spec.model, messages=messages, **options)
        except openai.BadRequestError as error:
            if "max_tokens" in options and "max_tokens" in str(error):
                self.length = "max_completion_tokens"
            elif "temperature" in options and "temperature" in str(error):
                self.temperature = False
            else:
                raise self.refused(error) from None
            return self.request(messages, limit)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            fix = f"Set {self.spec.key} to a key of this server."
            raise UserError(f"The server refuses the key ({error.status_code})", self.spec.url, fix) from None
        except openai.NotFoundError as error:
            raise self.refused(error) from None
        except openai.OpenAIError as error:
            fix = "Check that it runs and is reached; the answers so far are kept: resume the run."
            raise ServiceError(f"The server does not answer: {plainly(error)}", self.spec.url, fix) from None

    def refused(self, error: openai.APIStatusError) -> UserError:
        what = f"The server refuses the request ({error.status_code}): {plainly(error)}"
        return UserError(what, self.spec.url, f'Check the model name "{self.spec.model}" and the URL.')


def plainly(error: Exception) -> str:
    """An error as one short line; what a server says is shown, never more."""
    return " ".join(str(error).split())[:200]
