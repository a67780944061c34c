"""Where a tuned model is pushed on a Hugging Face hub: a part of the spec of an export. Holds no token, ever."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from executor.errors import UserError
from executor.licence_spec import LicenceSpec
from executor.servers import host_elsewhere, host_of, refuse_in_clear
from executor.spec_part import Part

REPO = re.compile(r"[A-Za-z0-9][\w-]*(?:\.[\w-]+)*/[A-Za-z0-9][\w-]*(?:\.[\w-]+)*")
OFFLINE = ("1", "on", "yes", "true")
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
Form = Literal["adapter", "merged"]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=300)]
"""a person's own words"""


class HubSpec(Part):
    repo: str = Field(pattern=f"^{REPO.pattern}$", max_length=130)
    """OWNER/NAME"""
    public: bool = False
    form: Form = "adapter"
    endpoint: str = Field(pattern=r"^https?://[^\s@]+$")
    """base URL of the hub"""
    token_env: str | None = Field(default=None, pattern=VARIABLE)
    """the environment variable with its token; None: HF_TOKEN or the login, for their own hub alone"""
    base: str | None = None
    """the base model's own name on the hub, where it has one"""
    licence_checked: Reason | None = None
    """why a person says that it may be passed on though its licences, as read, do not allow it"""


def endpoint_of(named: str | None) -> str:
    """The hub that is named, or that of HF_ENDPOINT, or huggingface_hub's own. Raises UserError for what is none."""
    from huggingface_hub import constants

    url = (named or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).strip().rstrip("/")
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not host_of(url)
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise UserError("Not the address of a hub", url.rpartition("@")[2], "Write it as https://host.")
    if parts.scheme != "https" and host_elsewhere(url):
        raise UserError("Nothing is pushed unencrypted over a network", url, "Use https.")
    return url


def token_for(endpoint: str, named: str | None = None) -> str:
    """The token for a hub: HF_TOKEN or the client's login for their own hub, for any other the variable `named`.

    Their own is the client's usual hub, or the one of HF_ENDPOINT. Raises UserError for none.
    """
    from huggingface_hub import constants, get_token

    host = host_of(endpoint)
    own = (constants._HF_DEFAULT_ENDPOINT, constants.ENDPOINT, os.environ.get("HF_ENDPOINT"))
    if named is None and host not in {host_of(url) for url in own if url}:
        fix = "Name the environment variable that holds it: --token-env NAME."
        raise UserError(f"Which token is for {host}? HF_TOKEN goes to its own hub alone", endpoint, fix)
    token = (os.environ.get(named or "HF_TOKEN") or ("" if named else get_token()) or "").strip()
    if not token:
        fix = "Set HF_TOKEN in the environment to a token that may write there, or log in with `hf auth login`."
        raise UserError(
            f"There is no token for {host}",
            named or endpoint,
            f"Set the environment variable {named}." if named else fix,
        )
    refuse_in_clear(endpoint, token)
    return token


def refuse_offline() -> None:
    """Raises UserError where the environment forbids the hub."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be pushed", "HF_HUB_OFFLINE", "Unset it and run again.")


def refuse_blocked(licences: LicenceSpec | None, hub: HubSpec) -> None:
    """Raises UserError where, as read, the licences do not allow the push, not under this name, or not for everyone.

    What nobody read may be pushed to a private repository, and to a public one only where a person says why.
    """
    if hub.licence_checked:
        return
    licences = licences or LicenceSpec()
    fix = 'If you have checked it, say why you may: --licence-checked "REASON". It is written into the card.'
    if licences.blocked:
        raise UserError(f"As read, it may not be passed on: {licences.blocked[0].text}", hub.repo, fix)
    if hub.public and licences.result == "unknown":
        why = licences.unclear.text if licences.unclear else "The licences were not looked at."
        raise UserError(f"Whether everyone may have it is not known: {why}", hub.repo, f"Push it private. {fix}")
    owner, _, name = hub.repo.partition("/")
    for begin in licences.begins:
        if not name.casefold().startswith(begin.casefold()):
            what = f"As read, a model made with {begin} must have a name that begins with {begin} where it is passed on"
            raise UserError(what, hub.repo, f"Push it as {owner}/{begin}-{name}.")
