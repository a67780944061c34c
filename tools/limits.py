"""What a provider takes at most, from the dated facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from executor.data.problem import Problem, warning
from knowledge.load import fact, number

CHARACTERS_PER_TOKEN = 4
"""of English, as a rule of thumb; another language needs more tokens for as many characters"""


def limit_problems(target: str, path: Path, quality: dict[str, Any] | None) -> list[Problem]:
    """Limits of the target that a file of rows exceeds, or, by an estimate, is likely to."""
    if target != "openai":
        return []
    problems = []
    size, most = path.stat().st_size, number("limits", "openai.max_bytes")
    if size > most:
        message = (
            f"the file has {size / 2**20:,.0f} MB; OpenAI takes {most / 2**20:,.0f} MB at once ({_read('max_bytes')})"
        )
        problems.append(
            warning("file_too_large", message, "Send it in parts through the Uploads API, or use fewer rows.")
        )
    tokens = number("limits", "openai.max_tokens")
    longest = (quality or {}).get("longest_input", 0) + (quality or {}).get("longest_answer", 0)
    if longest > tokens * CHARACTERS_PER_TOKEN:
        estimated = longest // CHARACTERS_PER_TOKEN
        long = f"the longest input and answer have {longest:,} characters, an estimated {estimated:,} tokens"
        message = f"{long}; OpenAI cuts an example after {tokens:,.0f} ({_read('max_tokens')})"
        problems.append(warning("likely_cut", message, "Shorten the long examples: what is cut off is the answer."))
    return problems


def _read(name: str) -> str:
    row = fact("limits", f"openai.{name}")
    return f"read on {row.read_on}"
