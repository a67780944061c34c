"""Push a folder to a Hugging Face hub: private unless asked otherwise, in one commit, the same content only once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils.tqdm import disable_progress_bars

from executor.errors import FinetuneError, ServiceError, UserError
from executor.export.card import TAG
from executor.files import sha256_file
from executor.hub_spec import HubSpec, endpoint_of, refuse_offline, token_for

NOTHING_YET = (".gitattributes",)
"""what a new repository holds"""
OURS = ("adapter_*", "config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json")
"""files of another form, that a push of this one takes away"""


def push(folder: Path, wish: HubSpec, say: Callable[[str], None], resume: str) -> dict[str, str]:
    """`url, commit` of the repository that now holds exactly what is in `folder`.

    The files are uploaded first and become visible by one commit: whatever interrupts it leaves the repository as it
    was, and the same push again adds what is missing. A repository that holds it already gets no commit. `resume` is
    the command that tries again. Raises UserError, and ServiceError where the hub does not answer.
    """
    refuse_offline()
    endpoint = endpoint_of(wish.endpoint)
    disable_progress_bars()
    api = HfApi(endpoint=endpoint, token=token_for(endpoint, wish.token_env))
    try:
        return pushed(api, folder, wish, say)
    except FinetuneError:
        raise
    except HfHubHTTPError as error:
        raise refused(error, wish, resume) from None  # its text may hold what a server said
    except (LookupError, TypeError, AttributeError) as error:  # the client takes an answer apart as it comes
        what = f"The answer is not one of a hub ({kind(error)}); what it holds now is not known"
        raise ServiceError(what, f"{endpoint}/{wish.repo}", f"Look at it, then go on with `{resume}`.") from None
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        what = f"The push did not come to its end ({kind(error)}); nothing of it is visible"
        raise ServiceError(what, f"{endpoint}/{wish.repo}", f"Go on with `{resume}`.") from None


def pushed(api: HfApi, folder: Path, wish: HubSpec, say: Callable[[str], None]) -> dict[str, str]:
    api.whoami()
    found = held(api, wish)
    if found is None:
        say(f"creating {wish.repo} ({'public' if wish.public else 'private'})")
        api.create_repo(wish.repo, private=not wish.public, exist_ok=True)
        found = held(api, wish)
    if found is None:
        raise ServiceError("The hub made the repository and does not show it", wish.repo, "Try again.")
    there = {each.rfilename: each for each in found.siblings or ()}
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    stale = [name for name in there if name not in files and any(fnmatch(name, pattern) for pattern in OURS)]
    url = f"{api.endpoint}/{wish.repo}"
    if not stale and all(name in there and same(file, there[name]) for name, file in files.items()):
        say("the hub holds it already")
        return {"url": url, "commit": str(found.sha)}
    say(f"uploading {len(files)} files to {wish.repo}")
    adds = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(file)) for name, file in files.items()]
    made = api.create_commit(
        wish.repo, [*adds, *(CommitOperationDelete(path_in_repo=name) for name in stale)],
        commit_message=f"Tuned model ({wish.form}) with its card", parent_commit=found.sha,
    )  # fmt: skip
    return {"url": url, "commit": str(made.oid)}


def held(api: HfApi, wish: HubSpec) -> Any | None:
    """What the repository holds; None where there is none. Raises UserError where it is not ours to write into."""
    try:
        found = api.model_info(wish.repo, files_metadata=True)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:
            raise
        return None
    names = [each.rfilename for each in found.siblings or ()]
    if any(name not in NOTHING_YET for name in names) and TAG not in (found.tags or ()):
        what = f"The name {wish.repo} is taken: it holds something that was not pushed by this program"
        raise UserError(what, api.endpoint, "Give another --repo.")
    if wish.public == bool(found.private):
        now, asked = ("private", "public") if found.private else ("public", "private")
        fix = "Give another --repo, or change the visibility in its settings on the hub."
        raise UserError(f"{wish.repo} exists and is {now}, and this push is to be {asked}", api.endpoint, fix)
    return found


def same(file: Path, there: Any) -> bool:
    """Whether the hub holds these bytes: by SHA-256 of large files, by git's own hash of others."""
    if there.lfs is not None:
        return bool(there.lfs.sha256 == sha256_file(file))
    if there.blob_id is None or (there.size is not None and there.size != file.stat().st_size):
        return False
    data = file.read_bytes()
    return bool(hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == there.blob_id)


def refused(error: HfHubHTTPError, wish: HubSpec, resume: str) -> FinetuneError:
    """What the hub's answer means, in one line."""
    status, where = error.response.status_code, wish.endpoint
    if status == 401:
        return UserError(
            "The hub does not know the token (401)", where, f"Set {wish.token_env or 'HF_TOKEN'} to one that is valid."
        )
    if status == 403:
        fix = "Use a token with the right to write there, or another --repo."
        return UserError(f"The token may not write to {wish.repo} (403)", where, fix)
    if status in (409, 412):
        what = f"{wish.repo} was changed by somebody else at the same time ({status})"
        return UserError(what, where, f"Look at it, then go on with `{resume}`.")
    if status < 500 and status not in (408, 429):
        return UserError(
            f"The hub refuses the push to {wish.repo} ({status})", where, "Look at the name and the token."
        )
    return ServiceError(f"The hub failed ({status}); nothing of the push is visible", where, f"Go on with `{resume}`.")


def kind(error: BaseException) -> str:
    """The first cause's name: its text may hold an address with a signature."""
    return kind(error.__cause__) if error.__cause__ else type(error).__name__
