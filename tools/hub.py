"""A push to a Hugging Face hub: checked before anything is computed, and in words for whoever approves it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from executor.errors import UsageError
from executor.hub_spec import (
    REPO,
    VARIABLE,
    Form,
    HubSpec,
    Reason,
    endpoint_of,
    refuse_blocked,
    refuse_offline,
    token_for,
)
from executor.licence_spec import LicenceSpec
from executor.servers import host_of
from executor.spec import ModelSpec, RunSpec
from knowledge.load import models
from tools.base import Args
from tools.licence import Rights, licensed


class HubArgs(Args):
    """What an export to a hub needs beside the run."""

    repo: str | None = None
    """hub: where to push, OWNER/NAME"""
    public: bool = False
    """hub: visible for everyone; private if not given"""
    form: Form | None = None
    """hub: adapter (PEFT, the usual) or merged"""
    hub_url: str | None = None
    """hub: base URL of another hub than that of HF_ENDPOINT"""
    token_env: str | None = Field(default=None, pattern=VARIABLE)
    """hub: name of the environment variable with the token of another hub (never the token itself)"""
    licence_checked: Reason | None = None
    """hub: why it may be passed on though its licences, as read, do not allow it or are not known; a person's words"""


def licences_now(spec: RunSpec) -> LicenceSpec:
    """The chain by the terms as they are known today, with what was said when the run was made."""
    before = spec.licences or LicenceSpec()
    found = licensed(spec.model, None, Rights(before.data, before.teacher))
    return found.model_copy(update={"data_from": before.data_from})


def hub_of(args: HubArgs, spec: RunSpec, licences: LicenceSpec, whole: bool) -> HubSpec:
    """Where to push. `whole`: full training left a model, not an adapter.

    Raises UsageError for what is no repository, UserError without a token and where the licences do not allow it.
    """
    if not args.repo or not REPO.fullmatch(args.repo):
        raise UsageError("Where to push is not said", "--repo", "Write --repo OWNER/NAME.")
    if args.form == "adapter" and whole:
        raise UsageError("Full training leaves no adapter", "--form", "Push --form merged.")
    endpoint = endpoint_of(args.hub_url)
    hub = HubSpec(
        repo=args.repo, public=args.public, form=args.form or ("merged" if whole else "adapter"), endpoint=endpoint,
        base=name_on_hub(spec.model), licence_checked=args.licence_checked,
        token_env=args.token_env,
    )  # fmt: skip
    refuse_blocked(licences, hub)
    refuse_offline()
    token_for(endpoint, args.token_env)
    return hub


def where_to(args: HubArgs) -> str:
    """The repository and the host, for whoever is asked."""
    return f"{args.repo} at {host_of(endpoint_of(args.hub_url))}"


def refuse_hub_options(args: HubArgs, to: str) -> None:
    """Raises UsageError where a form that stays on this machine is given options of a push."""
    given = [name for name in HubArgs.model_fields if getattr(args, name)]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise UsageError(f"{option} belongs to --to hub, not to {to}", option, "Leave it out, or push with --to hub.")


def name_on_hub(model: ModelSpec) -> str | None:
    """The base model's own name on the hub; None for a folder of this disk."""
    if model.source == "folder":
        return None
    return model.hub_id or next((row.hub_id for row in models() if row.name == model.name), None)


def push_text(run: str, hub: HubSpec, out: Path, rows: int, licences: LicenceSpec) -> str:
    """What is sent where, for whoever approves it."""
    seen = "visible for everyone" if hub.public else "private"
    what = "the adapter" if hub.form == "adapter" else "the merged model"
    lines = [
        f"Pushes {what} of {run} as `{hub.repo}` to {host_of(hub.endpoint)}, {seen}, with a model card; {rows} test "
        f"rows prove it first, and what is not equal is not pushed. The same folder stays in {out}.",
        "The card tells the task, labels, settings and scores, and the name of the data file; no row is sent.",
    ]
    if hub.token_env:
        lines.append(f"{host_of(hub.endpoint)} is given the token in {hub.token_env}.")
    if hub.licence_checked:
        lines.append(f"The licences are not asked, for this reason: {hub.licence_checked}")
    elif licences.unclear:
        lines.append("**Warning.** What licence it may carry is not known, so its card says `other`: keep it private.")
    return "\n\n".join(lines)
