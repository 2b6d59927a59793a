"""Many images: one folder an image by :func:`image3d_nb.generate_one`, in processes here or on a Ray cluster.

Both engines run :class:`Maker` on one image at a time. A folder's name comes from the image's content, files appear
complete or not at all, and what exists is not made again: after any crash, the same call continues.

A run writes into its folder: ``objects/ID/`` for each image, ``results.parquet`` and ``results.csv`` with one row an
image, ``contact/001.jpg`` and so on, and ``.batch/``, its working files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing

from .._numbers import is_whole
from .._optional import require
from ..errors import InputError
from ..generate import GenerateSettings
from .engines import in_processes, with_ray
from .maker import Maker
from .sources import index, listed, write_index
from .tables import BatchResult, collect

__all__ = ["BatchResult", "generate_many"]

ENGINES = ("local", "ray")


def generate_many(
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: GenerateSettings | None = None,
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    on_step: Callable[[str, int, int], object] | None = None,
) -> BatchResult:
    """Make an object from each of many images; memory does not grow with their number.

    An object's folder is ``out/objects/ID``; ID is the first 32 digits of the sha256 of the image's file, so equal
    files share one object. The table has all fields of each record (``files.object.ply.bytes``), ``source``, ``name``,
    ``id``, ``status`` ("done" or "error"), ``made`` (by this run), ``error``, and other columns of a manifest as
    ``manifest.COLUMN``. An image that fails becomes a row with its error, and is tried again by the next run.

    Args:
        images: a folder (searched to any depth), a pattern such as ``"photos/*.png"``, a manifest (.csv or .parquet
            with a column ``image`` of paths, relative to it, or URLs), or several paths or URLs. Folders, patterns and
            manifests may be fsspec URLs: ``s3://bucket/photos``.
        out: a folder, or an fsspec URL. With Ray on several machines, all must see it.
        settings: of every image; None uses the defaults.
        engine: "local": processes on this machine; "ray": an actor pool of Ray Data, one pipeline an actor.
        workers: processes or actors. None: 1; with Ray one for each GPU ("cuda") or node. 0 works in this process.
        address: of a running Ray cluster, "auto" or "ray://HOST:10001"; None starts Ray on this machine.
        on_step: called as f("images", done, total); an error that it raises ends the run.

    Warns:
        UserWarning: Ray has returned nothing for a minute; it says what Ray waits for and what to do.

    Raises:
        InputError: an argument, a manifest or ``out`` cannot be used, or there are no images.
        WeightsError: the model does not exist or is damaged.
        Image3DError: Ray or the processes here end too often.
        ImportError: pip install "image3d-nb[batch]".

    Example:
        >>> generate_many("photos", "objects", workers=2)  # doctest: +SKIP
        BatchResult(total=200, made=198, errors=1, table='objects/results.parquet')
    """
    settings = GenerateSettings() if settings is None else settings
    for package in ("fsspec", "pyarrow"):
        require(package, "batch", "image3d_nb.generate_many")
    least = 0 if engine == "local" else 1
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}")
    if workers is not None and (not is_whole(workers) or workers < least):
        raise InputError(f"workers must be a whole number of {least} or more for engine {engine}; got {workers!r}")
    if address is not None and engine != "ray":
        raise InputError(f'address must go with engine "ray"; got {address!r} with engine {engine!r}')
    if engine == "ray" and settings.device.startswith("cuda:"):
        raise InputError(f'device must be "cuda" with Ray, which gives each actor its GPU; got {settings.device!r}')
    maker = Maker(os.fspath(out), settings)
    maker.model()  # a missing model stops everything here
    store = maker.store
    with ExitStack() as stack:
        store.prepare(stack)
        total = write_index(listed(images, store), store)
        if engine == "ray":
            answers = with_ray(maker, total, workers, address)
        else:
            answers = in_processes(maker, index(store), 1 if workers is None else workers)
        return collect(stack.enter_context(closing(answers)), store, total, on_step)
