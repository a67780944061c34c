"""Servers that a run speaks to: whether one is this machine, and whether a key would travel in the clear."""

from __future__ import annotations

from urllib.parse import urlsplit

from executor.errors import UsageError, UserError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def host_of(url: str | None) -> str | None:
    """Raises UsageError for what is no URL."""
    try:
        return urlsplit(url or "").hostname
    except ValueError as error:
        raise UsageError(f"{url} is no URL ({error})", "--endpoint", "Write it as https://host/v1.") from error


def host_elsewhere(url: str | None) -> str | None:
    """The host of a URL that is not this machine; None where it is, or where there is no URL."""
    host = host_of(url)
    return None if host in (None, *LOOPBACK) else host


def refuse_in_clear(url: str, key: str | None) -> None:
    """Raises UserError where a key would leave this machine unencrypted."""
    host = host_elsewhere(url)
    if key and host and urlsplit(url).scheme != "https":
        raise UserError(f"The key would travel to {host} unencrypted", url, "Use https, or a tunnel to this machine.")
