"""From a model's name to a chat model, and from a provider's failure to an error the user can act on."""

from __future__ import annotations

import json
import os
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agent.settings import OFFLINE, TIMEOUT
from tools.base import FinetuneError, ServiceError, UserError
from tools.judging import key_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

PROVIDER_PACKAGES = (
    "aiohttp", "anthropic", "botocore", "cohere", "fireworks", "google", "groq", "httpcore", "httpx", "huggingface_hub",
    "langchain_anthropic", "langchain_google_genai", "langchain_ollama", "langchain_openai", "mistralai", "ollama",
    "openai", "requests", "together", "urllib3",
)  # fmt: skip
BROKEN = ("APIError", "ReadError", "ReadTimeout", "RemoteProtocolError", "StreamError")
"""what a stream that breaks off raises; a connection that never came the client has tried again itself"""
PATIENT = ("anthropic", "openai")
"""providers whose client takes a time-out and retries with back-off"""
RETRIES = 3
SERVICE = "fine-tuning-assistant"
"""under which the system's keyring may hold `PROVIDER_API_KEY`"""
TOOLS = re.compile(r"\btools?\b|function.?call", re.IGNORECASE)
DETAIL = 240
"""characters of a provider's message that are passed on"""


def chat_model(name: str, base_url: str | None, timeout: float = TIMEOUT, key_env: str | None = None) -> BaseChatModel:
    """The model that thinks: the offline advisor, or `provider:model`, whose package is imported only here.

    `timeout`: seconds without a sign of life. `key_env`: the variable with the key of the server at `base_url`;
    without it OPENAI_API_KEY goes to OpenAI alone, or to the host of OPENAI_BASE_URL. Raises UserError for an unknown
    provider, a missing package, or a key that is missing or would travel unencrypted.
    """
    if name == OFFLINE:
        from agent.offline import OfflineAdvisor

        return OfflineAdvisor()
    from langchain.chat_models import init_chat_model

    provider = name.partition(":")[0]
    options: dict[str, Any] = {"base_url": base_url} if base_url else {}
    if provider in PATIENT:
        options |= {"timeout": timeout, "max_retries": RETRIES}
    key_from_keyring(provider)
    if base_url:
        variable, own = key_of(base_url, key_env), key_variable(provider)
        if variable:
            options["api_key"] = os.environ[variable]
        elif provider == "openai" or own in os.environ:  # a client would take the provider's own key by itself
            options["api_key"] = "none"
    try:
        # named, or LangChain would take `gpt-oss:20b` for OpenAI by the look of it, and send it OpenAI's key
        model: BaseChatModel = init_chat_model(name.partition(":")[2], model_provider=provider, **options)
    except ImportError as error:
        package = f"langchain-{provider.replace('_', '-')}"
        raise UserError(f'The package for "{provider}" is missing', name, f"`pip install {package}`.") from error
    except ValidationError as error:
        raise missing_key(name, provider) from error
    except ValueError as error:
        raise UserError(
            f'Unknown model "{name}": {one_line(error)}', "--model", 'Give "offline" or "provider:model".'
        ) from error
    except Exception as error:
        if root_package(error) not in PROVIDER_PACKAGES:
            raise
        raise missing_key(name, provider) from error
    return model


def key_from_keyring(provider: str) -> None:
    """A key that the environment lacks, from the system's keyring where the package is installed; for this process."""
    variable = key_variable(provider)
    if variable in os.environ or find_spec("keyring") is None:
        return
    import keyring

    try:
        kept = keyring.get_password(SERVICE, variable)
    except Exception:  # no keyring on this machine, or it is locked: as if there were none
        return
    if kept:
        os.environ[variable] = kept


def wants_keyring(name: str) -> bool:
    """Whether the key of this model would be looked for in the system's keyring."""
    provider = name.partition(":")[0]
    return name != OFFLINE and key_variable(provider) not in os.environ and find_spec("keyring") is not None


def key_variable(provider: str) -> str:
    return f"{provider.upper()}_API_KEY"


def missing_key(name: str, provider: str) -> UserError:
    variable = key_variable(provider)
    keyring = f"`keyring set {SERVICE} {variable}`"
    where = f"or in the system's keyring ({keyring}; unlock it)" if find_spec("keyring") else f"or by {keyring}"
    fix = f"Set {variable} in the environment, {where}, or use --model offline."
    return UserError(f'No usable key for "{provider}"', name, fix)


def failure(error: Exception, name: str) -> FinetuneError | None:
    """What a failed call of the model means to the user, or None where the failure is a bug of ours."""
    provider = name.partition(":")[0]
    if root_package(error) not in PROVIDER_PACKAGES and not isinstance(error, OSError) and not broke_off(error):
        return None
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        return missing_key(name, provider)
    if status in (400, 422, 501) and TOOLS.search(str(error)):
        fix = "Choose a model that can, or --model offline, whose rules call them."
        return UserError(f'"{name}" cannot call tools: {one_line(error)}', "--model", fix)
    if status == 429 and "quota" in str(error):
        fix = "Pay, wait, or use --model offline, which costs nothing."
        return UserError(f"The provider's quota is used up: {one_line(error)}", name, fix)
    if status == 404:
        return UserError(f'The endpoint does not know "{name}"', "--model", "Check the model's name and --base-url.")
    fix = "Try again, or use --model offline, which needs no network."
    return ServiceError(f"The model did not answer: {one_line(error)}", name, fix)


def broke_off(error: Exception) -> bool:
    """Whether an answer that had begun ended in something else than an answer: asking again may help."""
    return isinstance(error, json.JSONDecodeError) or (
        root_package(error) in PROVIDER_PACKAGES
        and getattr(error, "status_code", None) is None
        and type(error).__name__ in BROKEN
    )


def root_package(error: Exception) -> str:
    return type(error).__module__.partition(".")[0]


def one_line(error: Exception) -> str:
    """The error's message, short, and without any key that the environment holds."""
    return masked(" ".join(str(error).split()) or type(error).__name__)[:DETAIL]


def masked(text: str) -> str:
    """The text without any key that the environment holds."""
    for value in keys():
        text = text.replace(value, "***")
    return text


def keys() -> list[str]:
    """The values of the environment's variables that are named like secrets."""
    named = [value for variable, value in os.environ.items() if variable.endswith(("_KEY", "_TOKEN", "_SECRET"))]
    return [value for value in named if len(value) >= 8]


def holds_key(text: str) -> bool:
    return any(value in text for value in keys())
