"""Download a model's files from the hub: a broken download continues where it stopped, and files are checked.

The hub's own client (since its version 2) discards a partial file when the program ends, and a weight file has up to
1.9 GB. So this module downloads weight files, into the client's cache under the client's names. The client does the
rest.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._files import atomic_write
from ..errors import WeightsError

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo
    from huggingface_hub.hf_api import RepoSibling

CHECKED = "image3d_nb_checked.json"
"""A file in a repository's folder of the cache: size, time and sha256 of the weight files that have been hashed."""
PRIVATE_NAMES = ("file_download.http_get", "utils.WeakFileLock")
"""Names of huggingface_hub that this module uses though they are not public. A test says which version moves them."""
_WEIGHTS = (".safetensors", ".ckpt", ".pth")
_CONVERTED = (".ckpt.safetensors", ".pth.safetensors")  # made here, of a checkpoint whose hash is checked
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(repository: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Download files of a repository into the hub's cache.

    Args:
        repository: "owner/name".
        revision: branch, tag or commit; None is the main branch.
        patterns: of the files' names, e.g. ``"*.json"``, ``"lgm/*.safetensors"``.

    Returns:
        The folder of the commit, in the cache.

    Raises:
        WeightsError: the files cannot be downloaded. The message says what to do.
    """
    from huggingface_hub import snapshot_download

    try:
        info = _info(repository, revision)
        if info is not None and info.id.lower() != repository.lower():
            raise WeightsError(
                f"{repository!r} has moved to {info.id!r}: look at https://huggingface.co/{info.id}, and load"
                f" {info.id!r} if you trust its owner"
            )
        if info is not None:
            _fetch_weights(repository, info, patterns)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except WeightsError:
        raise
    except Exception as error:  # includes errors of the client's HTTP library, which depends on its version
        raise WeightsError(_explain(repository, revision, error)) from error


def hub_origin(path: Path) -> tuple[str, str] | None:
    """Return ("owner/name", commit) of a folder or file in the hub's cache; None for one elsewhere."""
    parts = path.parts
    for i, part in enumerate(parts[:-2]):
        if part.startswith("models--") and parts[i + 1] == "snapshots":
            return part.removeprefix("models--").replace("--", "/"), parts[i + 2]
    return None


def check(folder: Path, known: Mapping[str, str]) -> None:
    """Compare downloaded weight files with their known hashes.

    Hashing 4.8 GB takes seconds, so the hashes are stored beside the files. A file whose size or time changes is hashed
    again.

    Args:
        folder: folder of :func:`fetch`.
        known: a file's folder, or its name if it has none -> sha256 of its content. Other files are compared with the
            hash that the hub announces.

    Raises:
        WeightsError: a hash differs.
    """
    hashes = _read_hashes(folder)
    before = dict(hashes)
    for file in sorted(file for suffix in _WEIGHTS for file in folder.rglob(f"*{suffix}")):
        if file.name.endswith(_CONVERTED):
            continue
        name = file.relative_to(folder)
        blob = file.resolve()
        digest = _hash_if_changed(blob, blob.relative_to(folder.parent.parent.resolve()).as_posix(), hashes)
        expected = known.get(name.parts[0])
        if expected is None and _SHA256.fullmatch(blob.name):
            expected = blob.name  # the cache names a large file by the hash that the hub announces
        if expected is not None and digest != expected:
            raise WeightsError(
                f"{file}: the weights' sha256 must be {expected}; got {digest}: they are damaged, or differ from the"
                f" published ones. Delete {blob} and load again; to use them unchanged, load the folder {folder}"
            )
    target = folder.parent.parent / CHECKED
    if hashes != before and os.access(target.parent, os.W_OK):  # a shared cache may be read-only
        atomic_write({target: json.dumps(hashes, indent=1).encode()})


def _hash_if_changed(file: Path, name: str, hashes: dict[str, Any]) -> str:
    status = file.stat()
    current = [status.st_size, status.st_mtime_ns]
    if hashes.get(name, [])[:2] != current:
        with file.open("rb") as stream:
            hashes[name] = [*current, hashlib.file_digest(stream, "sha256").hexdigest()]
    return str(hashes[name][2])


def _read_hashes(folder: Path) -> dict[str, Any]:
    try:
        hashes = json.loads((folder.parent.parent / CHECKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or damaged: the files are hashed again
        return {}
    return hashes if isinstance(hashes, dict) else {}


def _info(repository: str, revision: str | None) -> ModelInfo | None:
    """The hub's list of a repository's files, or None if the hub does not answer."""
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=20)
    except Exception:  # noqa: BLE001 -- snapshot_download gets the same error, and falls back to the cache
        return None


def _fetch_weights(repository: str, info: ModelInfo, patterns: Sequence[str]) -> None:
    """Download the missing large files into the cache, each named by its sha256."""
    blobs = _cache() / f"models--{repository.replace('/', '--')}" / "blobs"
    wanted = [
        (file, blobs / file.lfs.sha256)
        for file in info.siblings or ()
        if file.lfs is not None and any(fnmatch.fnmatch(file.rfilename, pattern) for pattern in patterns)
    ]
    missing = [(file, blob) for file, blob in wanted if not blob.exists()]
    if not missing:
        return
    blobs.mkdir(parents=True, exist_ok=True)
    parts = [_part(blob) for _, blob in missing]
    needed = sum(file.size or 0 for file, _ in missing) - sum(p.stat().st_size for p in parts if p.exists())
    free = shutil.disk_usage(blobs).free
    if free < needed:
        raise WeightsError(
            f"{repository!r}: {needed / 1e9:.1f} GB must be free in {_cache()}; got {free / 1e9:.1f} GB: {_MAKE_SPACE}"
        )
    for file, blob in missing:
        _resume(repository, str(info.sha), file, blob)


def _resume(repository: str, commit: str, file: RepoSibling, blob: Path) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]  # PRIVATE_NAMES

    part = _part(blob)
    with WeakFileLock(part.with_suffix(".lock")):  # another program may download the same file
        if blob.exists():
            return
        with part.open("ab") as stream:
            http_get(
                hf_hub_url(repository, file.rfilename, revision=commit),
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers(),
                expected_size=file.size,
                displayed_filename=file.rfilename,
            )
        with part.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != blob.name:
            part.unlink()
            raise WeightsError(
                f"{repository!r}: the sha256 of {file.rfilename} must be {blob.name}; got {digest}: the download was"
                " damaged and is deleted: load again"
            )
        os.replace(part, blob)


def _part(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.image3d_nb.part")


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


_MAKE_SPACE = (
    "make room, or set the environment variable HF_HOME to a folder on a larger disk; downloaded parts are kept, and"
    " the next load continues there"
)


def _explain(repository: str, revision: str | None, error: BaseException) -> str:
    """Say what went wrong, and what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"https://huggingface.co/{repository}"
    if isinstance(error, GatedRepoError):  # a subclass of RepositoryNotFoundError
        return (
            f"{repository!r} is gated: accept its terms at {page}, log in with 'hf auth login' (or set HF_TOKEN), and"
            " load again"
        )
    refused = isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 404)
    if isinstance(error, RepositoryNotFoundError) or (refused and not isinstance(error, RevisionNotFoundError)):
        return (
            f"{repository!r} must be a repository on the hub; there is none, or it is private: look for its name at"
            f" {page}; for a private one, log in with 'hf auth login'"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repository!r} has no revision {revision!r}: choose a branch or a commit from {page}/commits/main"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{repository!r}: the disk of {_cache()} is full: {_MAKE_SPACE}"
    cause = error.__cause__ or error  # the client wraps the first error in that of its fallback
    reason = f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
    if isinstance(cause, HfHubHTTPError):
        return f"{repository!r}: the hub must send the files; got {reason}: try again later, or use 'tiny'"
    if constants.HF_HUB_OFFLINE:
        return (
            f"{repository!r} is missing or incomplete in {_cache()}, and HF_HUB_OFFLINE forbids the download: load it"
            " once without HF_HUB_OFFLINE, or use 'tiny'"
        )
    return (
        f"{repository!r} is missing or incomplete on this computer, and the hub cannot be reached or broke off"
        f" ({reason}): check the network and load again, downloaded parts are kept; or use 'tiny', which needs no"
        " network"
    )
