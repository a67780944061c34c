"""How answers are to be judged, in the user's words: a form they must have, a server that answers beside."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from executor.errors import UsageError, UserError
from executor.extras import need
from executor.servers import host_elsewhere, host_of, refuse_in_clear
from executor.spec import EndpointSpec, FormSpec, System, parse
from knowledge.load import facts
from knowledge.rows import Fact

__all__ = ["endpoint_of", "form_of", "harness_of", "host_elsewhere", "key_of"]

KEY = "OPENAI_API_KEY"
OPENAI = "api.openai.com"
NO_KEY = "none"
"""what the user names where a server elsewhere asks for no key"""


def form_of(words: str) -> FormSpec:
    """A JSON schema from a file, else a regular expression. Raises UserError where it is neither."""
    path = Path(words).expanduser()
    if path.suffix.lower() == ".json" or is_file(path):
        try:
            schema = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            fix = "Name a file with a JSON schema, or write a regular expression."
            raise UserError(f"Cannot read the schema: {error}", str(path), fix) from error
        if not isinstance(schema, dict):
            fix = 'Such as {"type": "object", "required": ["city"]}.'
            raise UserError("A JSON schema is an object", str(path), fix)
        return FormSpec(json_schema=checked(schema, path), file=str(path.absolute()))
    try:
        re.compile(words)
    except re.error as error:
        fix = "Correct the pattern, or name a .json file with a schema."
        raise UsageError(f'"{words}" is no regular expression ({error})', "--format", fix) from error
    return FormSpec(regex=words)


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a long pattern is no name
        return False


def checked(schema: dict[str, object], path: Path) -> dict[str, object]:
    """The schema, if it is one and refers to nothing outside itself."""
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        Draft202012Validator.check_schema(schema)
        resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
        for reference in references(schema):
            resolver.lookup(reference)
    except SchemaError as error:
        raise UserError(f"Not a JSON schema: {error.message}", str(path), "Correct it (draft 2020-12).") from error
    except Unresolvable as error:
        fix = "Put what it refers to into the same file."
        raise UserError(f"The schema refers to what is not there: {error}", str(path), fix) from error
    return schema


def references(schema: object) -> Iterator[str]:
    """Every reference of a schema, wherever it stands."""
    if isinstance(schema, dict):
        yield from (schema[key] for key in ("$ref", "$dynamicRef") if isinstance(schema.get(key), str))
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def endpoint_of(url: str | None, model: str | None, key_env: str | None = None) -> EndpointSpec:
    """The server and its model, with the list price of a known model. Raises where half of it or its key is missing."""
    if not url or not model:
        raise UsageError("An endpoint needs its URL and its model", "--endpoint URL --model NAME", "Give both.")
    host, key = host_elsewhere(url), key_of(url, key_env)
    name = re.sub(r"[^\w.-]+", "-", model).strip("-.") or "endpoint"
    name = f"endpoint-{name}" if name in get_args(System) else name
    prices = price_of(model) if host else {}
    return parse(EndpointSpec, {"name": name, "url": url, "model": model, "key": key, **prices}, "--endpoint")


def key_of(url: str, named: str | None) -> str | None:
    """The environment variable with the key of a server. None: it asks for none.

    A key goes only to its own host: OPENAI_API_KEY to OpenAI, or to the host that OPENAI_BASE_URL names; any other
    server's is named by the user. Raises UserError where a key is missing, or would travel unencrypted.
    """
    host, elsewhere = host_of(url), host_elsewhere(url)
    if named == NO_KEY:
        return None
    if named is None and host not in (OPENAI, host_of(os.environ.get("OPENAI_BASE_URL"))):
        if elsewhere:
            fix = "Name the environment variable that holds it: --key-env NAME; or --key-env none if it asks for none."
            raise UserError(f"Which key is for {host}?", "--endpoint", fix)
        return None
    key = named or (KEY if elsewhere or os.environ.get(KEY) else None)
    if key and not os.environ.get(key):
        raise UserError(f"There is no key for {host}", key, f"Set the environment variable {key}.")
    refuse_in_clear(url, key)
    return key


def harness_of(tasks: Sequence[str]) -> tuple[str, ...]:
    """Tasks of lm-evaluation-harness, files by their absolute path. Raises UserError where it is not installed."""
    if tasks:
        need("lm_eval", "lm-evaluation-harness", "--harness", extra="harness")
    return tuple(
        str(Path(task).expanduser().absolute()) if task.endswith((".yaml", ".yml")) else task for task in tasks
    )


def price_of(model: str) -> dict[str, object]:
    """`usd_in`, `usd_out`, `price_source` of a model of the price list that has not expired; else nothing."""
    known: dict[str, Fact] = {row.id: row for row in facts("prices")}
    rows = [known.get(f"openai.{model}.{kind}") for kind in ("input", "output")]
    if any(row is None or row.stale() for row in rows):
        return {}
    prompt, answer = (row for row in rows if row is not None)
    return {"usd_in": prompt.value, "usd_out": answer.value, "price_source": prompt.source[0]}
