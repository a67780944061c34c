"""Questions to a server that this program started, in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import openai

from executor.errors import ServiceError

SECONDS = 600.0
NO_KEY = "none"


def stream(url: str, model: str, messages: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The greedy answer, piece by piece. Raises ServiceError where the server fails."""
    sent: Any = list(messages)
    try:
        with openai.OpenAI(base_url=url, api_key=NO_KEY, timeout=SECONDS, max_retries=0) as client:
            answer = client.chat.completions.create(model=model, messages=sent, temperature=0, stream=True)
            for chunk in answer:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield text
    except openai.OpenAIError as error:
        what = f"The model does not answer: {' '.join(str(error).split())[:200]}"
        raise ServiceError(what, model, "Ask again, or shorten the conversation.") from None
