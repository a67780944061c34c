"""OpenAI's published description of its fine-tuning API, and whether what was said keeps to it."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from hosted_server import Said
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

FILE = Path(
    os.environ.get("OPENAI_OPENAPI")
    or Path(__file__).parents[2] / "shared" / "data" / "api" / "openai-fine-tuning.openapi.json"
)
ROOT = "urn:openai"


@cache
def described() -> tuple[dict[str, Any], Registry[Any]]:
    """The paths of the description, and its schemas to refer to."""
    whole = nullable(json.loads(FILE.read_text(encoding="utf-8")))
    registry: Registry[Any] = Registry().with_resource(ROOT, DRAFT202012.create_resource(whole))
    return whole["paths"], registry


def nullable(value: Any) -> Any:
    """`nullable` is OpenAPI 3.0's word; JSON Schema writes another type beside it."""
    if isinstance(value, list):
        return [nullable(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: nullable(each) for key, each in value.items()}
    return {"anyOf": [found, {"type": "null"}]} if found.pop("nullable", False) is True else found


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    """What in a value is not as its schema says; references of the schema lead into the description."""
    _, registry = described()
    rooted = json.loads(json.dumps(schema).replace('"#/components', f'"{ROOT}#/components'))
    return [error.message for error in Draft202012Validator(rooted, registry=registry).iter_errors(value)]


def operation(method: str, path: str) -> dict[str, Any]:
    """The description of what was asked. KeyError where it is not described."""
    paths, _ = described()
    for template, verbs in paths.items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in verbs:
            found: dict[str, Any] = verbs[method.lower()]
            return found
    raise KeyError(f"{method} {path}")


def departures(each: Said) -> list[str]:
    """Where a request, or an answer to it, is not as OpenAI describes it."""
    asked = operation(each.method, each.path)
    known = {parameter["name"] for parameter in asked.get("parameters", ())}
    found = [f"unknown query {name}" for name in each.query if name.partition("[")[0] not in known]
    content = asked.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        found += faults(content["application/json"]["schema"], each.sent)
    if "multipart/form-data" in content:
        form = {name: value for name, value in each.sent.items() if name != "filename"}
        found += faults(content["multipart/form-data"]["schema"], form | {"file": "(bytes)"})
    answer = asked["responses"]["200"]["content"]["application/json"]["schema"]
    found += faults(answer if each.status == 200 else {"$ref": "#/components/schemas/ErrorResponse"}, each.answer)
    return [f"{each.method} {each.path}: {fault}" for fault in found]
