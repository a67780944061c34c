"""How answers are to be judged, in the user's words: a form they must have, a server that answers beside."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from executor.errors import UsageError, UserError
from executor.spec import EndpointSpec, FormSpec, System, parse
from knowledge.load import facts
from knowledge.rows import Fact

LOOPBACK = ("127.0.0.1", "::1", "localhost")
KEY = "OPENAI_API_KEY"


def form_of(words: str) -> FormSpec:
    """A JSON schema from a file, else a regular expression. Raises UserError where it is neither."""
    path = Path(words).expanduser()
    if path.suffix.lower() == ".json" or path.is_file():
        try:
            schema = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            fix = "Name a file with a JSON schema, or write a regular expression."
            raise UserError(f"Cannot read the schema: {error}", str(path), fix) from error
        if not isinstance(schema, dict):
            fix = 'Such as {"type": "object", "required": ["city"]}.'
            raise UserError("A JSON schema is an object", str(path), fix)
        return FormSpec(json_schema=checked(schema, path))
    try:
        re.compile(words)
    except re.error as error:
        fix = "Correct the pattern, or name a .json file with a schema."
        raise UsageError(f'"{words}" is no regular expression ({error})', "--format", fix) from error
    return FormSpec(regex=words)


def checked(schema: dict[str, object], path: Path) -> dict[str, object]:
    """The schema, if it is one and refers to nothing outside itself."""
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema, registry=Registry()).is_valid({})
    except SchemaError as error:
        raise UserError(f"Not a JSON schema: {error.message}", str(path), "Correct it (draft 2020-12).") from error
    except Unresolvable as error:
        fix = "Put what it refers to into the same file."
        raise UserError(f"The schema refers to what is not there: {error}", str(path), fix) from error
    return schema


def endpoint_of(url: str | None, model: str | None) -> EndpointSpec:
    """The server and its model, with the list price of a known model. Raises where half of it or its key is missing."""
    if not url or not model:
        raise UsageError("An endpoint needs its URL and its model", "--endpoint URL --model NAME", "Give both.")
    host = host_elsewhere(url)
    if host and not os.environ.get(KEY):
        raise UserError(f"There is no key for {host}", KEY, f"Set the environment variable {KEY}.")
    name = re.sub(r"[^\w.-]+", "-", model).strip("-.") or "endpoint"
    name = f"endpoint-{name}" if name in get_args(System) else name
    prices = price_of(model) if host else {}
    return parse(EndpointSpec, {"name": name, "url": url, "model": model, **prices}, "--endpoint")


def host_elsewhere(url: str | None) -> str | None:
    """The host of a URL that is not this machine; None where it is, or where there is no URL."""
    host = urlsplit(url or "").hostname
    return None if host in (None, *LOOPBACK) else host


def price_of(model: str) -> dict[str, object]:
    """`usd_in`, `usd_out`, `price_source` of a model of the price list that has not expired; else nothing."""
    known: dict[str, Fact] = {row.id: row for row in facts("prices")}
    rows = [known.get(f"openai.{model}.{kind}") for kind in ("input", "output")]
    if any(row is None or row.stale() for row in rows):
        return {}
    prompt, answer = (row for row in rows if row is not None)
    return {"usd_in": prompt.value, "usd_out": answer.value, "price_source": prompt.source[0]}
