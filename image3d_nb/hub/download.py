"""Files of a model from the hub: a broken download goes on where it stopped, and what came is checked.

The hub's own client (since its version 2) throws a half-fetched file away when the program ends, and a weight file has
up to 1.9 GB. So weight files are fetched here, into the client's cache under the client's names; it does the rest.
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
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

CHECKED = "image3d_nb_checked.json"
"""In a repository's folder of the cache: size, time and sha256 of the weight files that have been read once."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(repository: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder, in the hub's cache, with those files of a repository.

    Args:
        repository: "owner/name".
        revision: a branch, a tag or a commit; None is the main branch.
        patterns: of the names of the files, e.g. ``"*.json"``, ``"lgm/*.safetensors"``.

    Raises:
        WeightsError: they cannot be had; the message says what to do.
    """
    from huggingface_hub import snapshot_download

    try:
        info = _info(repository, revision)
        if info is not None:
            _same_name(repository, info)
            _fetch_weights(repository, info, patterns)
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except WeightsError:
        raise
    except Exception as error:  # the client lets errors of its HTTP library through, which changes
        raise WeightsError(_sentence(repository, revision, error)) from error


def source(path: Path) -> tuple[str, str] | None:
    """("owner/name", commit) of a folder or file in the hub's cache; None for one that is elsewhere."""
    parts = path.parts
    for i, part in enumerate(parts[:-2]):
        if part.startswith("models--") and parts[i + 1] == "snapshots":
            return part.removeprefix("models--").replace("--", "/"), parts[i + 2]
    return None


def check(folder: Path, known: Mapping[str, str]) -> None:
    """Compare the weight files that were fetched with what they must be.

    Reading 4.8 GB takes seconds, so what has been read is written down beside the files; a file of another size or
    time is read again.

    Args:
        folder: of :func:`fetch`.
        known: a file's folder, or its name where it has none -> sha256 of its content. A file that is not named here is
            compared with what the hub announced.

    Raises:
        WeightsError: a file is another.
    """
    record = _read_record(folder)
    before = dict(record)
    for file in sorted(folder.rglob("*.safetensors")):
        name = file.relative_to(folder)
        digest = _digest(file.resolve(), file.resolve().relative_to(folder.parent.parent.resolve()).as_posix(), record)
        expected = known.get(name.parts[0])
        if expected is None and _SHA256.fullmatch(file.resolve().name):
            expected = file.resolve().name  # the cache's name of a large file is what the hub announced
        if expected is not None and digest != expected:
            raise WeightsError(
                f"{file}: the weights' sha256 must be {expected}; it is {digest}: they are damaged, or not those that"
                f" were published. Delete {file.resolve()} and load again; to use them as they are, load the folder"
                f" {folder}"
            )
    if record != before:
        _write_record(folder, record)


def _digest(file: Path, name: str, record: dict[str, Any]) -> str:
    status = file.stat()
    seen = [status.st_size, status.st_mtime_ns]
    if record.get(name, [])[:2] != seen:
        with file.open("rb") as stream:
            record[name] = [*seen, hashlib.file_digest(stream, "sha256").hexdigest()]
    return str(record[name][2])


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder.parent.parent / CHECKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or damaged: the files are read again
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    target = folder.parent.parent / CHECKED
    if os.access(target.parent, os.W_OK):  # a cache that many people share may not be theirs to write to
        atomic_write({target: json.dumps(record, indent=1).encode()})


def _info(repository: str, revision: str | None) -> ModelInfo | None:
    """What the hub says of a repository and its files; None where it says nothing."""
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=20)
    except Exception:  # noqa: BLE001 -- snapshot_download meets the same error, and knows what the cache has instead
        return None


def _same_name(repository: str, info: ModelInfo) -> None:
    if info.id.lower() != repository.lower():
        raise WeightsError(
            f"{repository!r} has moved to {info.id!r}: look at https://huggingface.co/{info.id}, and load {info.id!r}"
            " if you trust its owner"
        )


def _fetch_weights(repository: str, info: ModelInfo, patterns: Sequence[str]) -> None:
    """Put the large files that are missing into the cache, each under its sha256."""
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
    _check_space(repository, blobs, missing)
    for file, blob in missing:
        _resume(repository, str(info.sha), file, blob)


def _check_space(repository: str, blobs: Path, missing: Sequence[tuple[RepoSibling, Path]]) -> None:
    parts = [_part(blob) for _, blob in missing]
    needed = sum(file.size or 0 for file, _ in missing) - sum(p.stat().st_size for p in parts if p.exists())
    free = shutil.disk_usage(blobs).free
    if free < needed:
        raise WeightsError(
            f"{repository!r}: {needed / 1e9:.1f} GB must be free in {_cache()}; {free / 1e9:.1f} GB are: {_MAKE_SPACE}"
        )


def _resume(repository: str, commit: str, file: RepoSibling, blob: Path) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

    part = _part(blob)
    with WeakFileLock(part.with_suffix(".lock")):  # another program may fetch the same file
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
                f"{repository!r}: the sha256 of {file.rfilename} must be {blob.name}; what came has {digest}: the"
                " download is damaged and has been thrown away: load again"
            )
        os.replace(part, blob)


def _part(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.image3d_nb.part")


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


_MAKE_SPACE = (
    "make room, or set the environment variable HF_HOME to a folder on a larger disk; what has been fetched is kept,"
    " and the next load goes on from there"
)


def _sentence(repository: str, revision: str | None, error: BaseException) -> str:
    """What went wrong, and what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"https://huggingface.co/{repository}"
    if isinstance(error, GatedRepoError):  # before RepositoryNotFoundError, of which it is one
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
        return f"{repository!r} has no revision {revision!r}: take a branch or a commit from {page}/commits/main"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{repository!r}: the disk of {_cache()} is full: {_MAKE_SPACE}"
    cause = error.__cause__ or error  # the client wraps what happened into what it then looked for
    reason = f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
    if isinstance(cause, HfHubHTTPError):
        return f"{repository!r}: the hub must send the files; it answers ({reason}): try again later, or use 'tiny'"
    if constants.HF_HUB_OFFLINE:
        return (
            f"{repository!r} is not, or not wholly, in {_cache()}, and HF_HUB_OFFLINE forbids to fetch it: load it once"
            " without HF_HUB_OFFLINE, or use 'tiny'"
        )
    return (
        f"{repository!r} is not, or not wholly, on this computer, and the hub cannot be reached or broke off"
        f" ({reason}): check the network and load again, what has been fetched is kept; or use"
        " 'tiny', which needs no network"
    )
