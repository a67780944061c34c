"""The way to a provider's server by the openai SDK: its key, what may be asked again, and errors in plain words."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from executor.errors import FinetuneError, ServiceError, UserError
from executor.servers import host_of, refuse_in_clear
from executor.text import one_line

if TYPE_CHECKING:
    import openai

T = TypeVar("T")
READS = 4
"""times that a read is tried again, with growing pauses: connection faults, 408, 409, 429 and 5xx"""
SECONDS = 60.0
UPLOAD_SECONDS = 1800.0
NO_KEY = "none"
"""what a server that asks for no key is sent"""
DETAIL = 240
"""characters of a server's message that are passed on"""


class Unsure(ServiceError):  # noqa: N818 (it may have been done)
    """Something was asked for once, and whether it was done is not known."""


class Link:
    """One server and the key for it. The key is read from the environment and kept nowhere."""

    def __init__(self, url: str, key_env: str | None, own: bool) -> None:
        """`key_env` names the variable with the key, None: no key. `own`: it is the provider's own host.

        Raises UserError where the key would travel unencrypted, or is not there.
        """
        self.url, self.key_env, self.own = url, key_env, own
        self.host = host_of(url) or url
        refuse_in_clear(url, key_env)
        self._key = os.environ.get(key_env, "") if key_env else ""
        if key_env and not self._key:
            raise UserError(f"There is no key for {self.host}", key_env, f"Set the environment variable {key_env}.")

    @cached_property
    def client(self) -> openai.OpenAI:
        import openai

        no_one: Any = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        return openai.OpenAI(
            base_url=self.url, api_key=self._key or NO_KEY, timeout=SECONDS, max_retries=READS,
            default_headers=None if self.own else no_one,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),  # rows and key go to the named host alone
        )  # fmt: skip

    def read(self, ask: Callable[[openai.OpenAI], T]) -> T:
        """What may be asked again. Raises UserError, ServiceError."""
        return self._asked(ask, self.client)

    def once(self, ask: Callable[[openai.OpenAI], T], seconds: float = SECONDS) -> T:
        """What changes something there: asked once. Raises UserError, ServiceError, and `Unsure` as its name says."""
        return self._asked(ask, self.client.with_options(max_retries=0, timeout=seconds))

    def _asked(self, ask: Callable[[openai.OpenAI], T], client: openai.OpenAI) -> T:
        import openai

        with self.understanding():
            try:
                return ask(client)
            except openai.APIStatusError as error:
                raise self._refused(error) from None

    @contextmanager
    def understanding(self) -> Iterator[None]:
        """A block that asks a server, or reads what it sent. Raises Unsure where that is not what it should be."""
        import openai

        odd = (openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
        try:
            yield
        except odd as error:
            fix = f"Check that {self.host} is reached, and the URL."
            raise Unsure(f"{self.host} does not answer as it should: {self.plain(error)}", self.url, fix) from None

    def _refused(self, error: openai.APIStatusError) -> FinetuneError:
        status, said = error.status_code, self.plain(error)
        if 300 <= status < 400:
            return self._elsewhere(status, error.response.headers.get("location", ""))
        if status == 401:
            fix = f"Set {self.key_env} to a key of it." if self.key_env else "Name the variable with --key-env NAME."
            return UserError(f"{self.host} refuses the key (401)", self.key_env or "no key", fix)
        if "training_not_available" in said:
            fix = "Train here with `finetune go DATA`, or choose another --provider."
            return UserError(f"{self.host} lets this organisation create no more fine-tuning jobs (403)", self.url, fix)
        if status == 429 and "quota" in said:
            return UserError(f"The quota at {self.host} is used up: {said}", self.url, "Pay, or wait.")
        if status == 429:
            return ServiceError(f"{self.host} takes no more requests now (429)", self.url, "Try again later.")
        if status in (408, 409) or status >= 500:
            return Unsure(f"{self.host} fails ({status}): {said}", self.url, "Try again later.")
        fix = "Check the id and the URL." if status == 404 else "Correct what it names."
        return UserError(f"{self.host} refuses the request ({status}): {said}", self.url, fix)

    def _elsewhere(self, status: int, target: str) -> ServiceError:
        """A redirect, which is not followed; after 307 and 308 nothing was done, after another it may have been."""
        kind = ServiceError if status in (307, 308) else Unsure
        named = one_line(str(self.masked(target)), DETAIL) or "an address that it does not tell"
        fix = "Nothing is sent there. If you trust that server, give it as --base-url."
        return kind(f"{self.host} sends us on to {named} ({status})", self.url, fix)

    def plain(self, error: object) -> str:
        """What went wrong in one short line, without the key."""
        body = getattr(error, "body", None)
        said = body.get("message") if isinstance(body, dict) else None
        code = body.get("code") if isinstance(body, dict) else None
        text = f"{said} [{code}]" if isinstance(said, str) and isinstance(code, str) else said or str(error)
        return one_line(str(self.masked(str(text))), DETAIL)

    def masked(self, value: Any) -> Any:
        """A server's JSON without the key, wherever it repeats it; lone surrogates become `?`, NaN null."""
        if isinstance(value, str):
            sound = value.encode("utf-8", "replace").decode("utf-8")
            return sound.replace(self._key, "***") if self._key else sound
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, dict):
            return {str(self.masked(key)): self.masked(each) for key, each in value.items()}
        return [self.masked(each) for each in value] if isinstance(value, list) else value

    def object(self, response: Any, named: str | None = None) -> dict[str, Any]:
        """A response as plain JSON with the key masked.

        Raises Unsure where it is no object with an id, or has another one than `named`.
        """
        value = response.to_dict(mode="json", warnings=False) if hasattr(response, "to_dict") else response
        if not isinstance(value, dict) or not isinstance(value.get("id"), str) or not value["id"]:
            fix = "Check the URL: it usually ends in /v1."
            raise Unsure(f"What {self.host} sends is not what was asked for", self.url, fix)
        found: dict[str, Any] = self.masked(value)
        if named is not None and found["id"] != named:
            other = one_line(found["id"], 80)
            raise Unsure(f'{self.host} was asked for "{named}" and answers with "{other}"', self.url, "Check the URL.")
        return found

    def listed(self, value: Any) -> list[Any]:
        """What a server sent as a list. Raises ServiceError where it is none."""
        if not isinstance(value, list):
            raise ServiceError(f"What {self.host} sends is no list", self.url, "Check the URL: it usually ends in /v1.")
        return value

    def rows(self, response: Any) -> list[dict[str, Any]]:
        """The objects of a list's `data` (or the list itself), the key masked. Raises ServiceError where it is none."""
        value = response.get("data") if isinstance(response, dict) else response
        return [self.masked(each) for each in self.listed(value) if isinstance(each, dict)]
