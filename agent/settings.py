"""The user's settings: which model thinks. From the environment, else from `settings.yaml` in the workspace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tools.base import UserError, chats_folder

OFFLINE = "offline"
TIMEOUT = 60.0


class Settings(BaseModel):
    """Frozen; an unknown key is an error. Keys of providers are never part of it: they stay in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str = OFFLINE
    """`offline`, or `provider:model`"""
    base_url: str | None = None
    """endpoint of the provider, for OpenAI-compatible servers such as vLLM, Ollama or llama.cpp"""

    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """the environment variable with the key of the server at `base_url`; `none`: it asks for none"""
    timeout: float = Field(default=TIMEOUT, gt=0)
    """seconds without a sign of life after which a model is given up"""

    @property
    def link(self) -> dict[str, Any]:
        """How the model is reached, beside its name and address."""
        return {"timeout": self.timeout, "key_env": self.key_env}

    @field_validator("model")
    @classmethod
    def named(cls, value: str) -> str:
        provider, colon, name = value.partition(":")
        if value != OFFLINE and not (provider and colon and name):
            raise ValueError(f'"{value}" is neither "{OFFLINE}" nor "provider:model", for example "openai:gpt-4o-mini"')
        return value

    @field_validator("base_url")
    @classmethod
    def plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f'"{value}" is no http(s) address')
        if url.username or url.password or url.query:
            raise ValueError("an address must not carry a name, a password or a query")
        return value


def settings_file() -> Path:
    return chats_folder().parent / "settings.yaml"


def load_settings(model: str | None = None, base_url: str | None = None, key_env: str | None = None) -> Settings:
    """Each value from the first that names it: the arguments, FINETUNE_MODEL, _BASE_URL and _KEY_ENV, settings.yaml.

    Raises UserError naming the source of a wrong value.
    """
    named = {
        "model": model or os.environ.get("FINETUNE_MODEL"),
        "base_url": base_url or os.environ.get("FINETUNE_BASE_URL"),
        "key_env": key_env or os.environ.get("FINETUNE_KEY_ENV"),
    }
    file = settings_file()
    stored = read_settings(file) if file.exists() else {}
    return checked(stored | {key: value for key, value in named.items() if value}, file)


def read_settings(file: Path) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"Cannot read the settings: {problem}", str(file), "Correct or remove the file.") from error
    if not isinstance(value, dict | None):
        raise UserError("The settings must be a mapping", str(file), "Write lines such as `model: offline`.")
    return value or {}


def checked(values: dict[str, Any], file: Path) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{each['loc'][0]}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors())
        known = ", ".join(Settings.model_fields)
        raise UserError(faults, f"options, environment or {file}", f"Known settings: {known}.") from error
