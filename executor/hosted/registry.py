"""The providers by name, and the way to one: its address, and the key that may go there."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from executor.errors import UsageError, UserError
from executor.hosted.for_openai import ForOpenAI
from executor.hosted.for_together import ForTogether
from executor.hosted.link import NO_KEY, Link
from executor.hosted.provider import Provider
from executor.servers import LOOPBACK, host_elsewhere, host_of

ProviderName = Literal["openai", "together"]
PROVIDERS: dict[ProviderName, type[Provider]] = {"openai": ForOpenAI, "together": ForTogether}

PORTS = {"http": 80, "https": 443}


def address(provider: ProviderName, base_url: str | None) -> str:
    """The base URL in one spelling, without a slash at its end. Raises UsageError for no plain http(s) address."""
    url = (base_url or PROVIDERS[provider].url).strip()
    parts = urlsplit(url) if host_of(url) else None
    if parts is None or parts.scheme not in PORTS or parts.username or parts.password or parts.query:
        raise UsageError("The base URL is no plain http(s) address", "--base-url", "Write it as https://host/v1.")
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"The base URL has no port: {error}", "--base-url", "Write it as https://host/v1.") from error
    host = (host_of(url) or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    shown = "" if port in (None, PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{shown}{re.sub('/+', '/', parts.path).rstrip('/')}"


def place(provider: ProviderName, url: str) -> str:
    """What stands for a server in the key of an order: the provider's name, or the address of another server."""
    if is_own(provider, url):
        return provider
    url = address(provider, url)
    host = host_of(url)
    return url.replace(f"//[{host}]" if host == "::1" else f"//{host}", "//127.0.0.1", 1) if host in LOOPBACK else url


def is_own(provider: ProviderName, url: str) -> bool:
    """Whether the URL is the provider's own server."""
    return host_of(url) in PROVIDERS[provider].hosts


def key_name(provider: ProviderName, url: str, named: str | None) -> str | None:
    """The environment variable with the key of the server at `url`; None: it asks for none.

    A provider's key goes to its own hosts alone, any other server's is named. Raises UserError where it is not.
    """
    if named == NO_KEY:
        return None
    if named:
        if not named.isidentifier():
            raise UsageError("--key-env takes the name of a variable, not a key", "--key-env", "Such as MY_API_KEY.")
        return named
    if is_own(provider, url):
        return PROVIDERS[provider].key
    if host := host_elsewhere(url):
        fix = "Name the environment variable that holds it: --key-env NAME; or --key-env none if it asks for none."
        raise UserError(f"Which key is for {host}?", "--base-url", fix)
    return None


def connect(provider: ProviderName, base_url: str | None = None, key_env: str | None = None) -> Provider:
    """Nothing is asked yet. Raises UsageError, UserError as `address`, `key_name` and `Link` do."""
    url = address(provider, base_url)
    return PROVIDERS[provider](Link(url, key_name(provider, url, key_env), is_own(provider, url)))
