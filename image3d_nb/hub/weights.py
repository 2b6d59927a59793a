"""Find the folder of a model by its name: "tiny", a local folder, or a repository of the hub.

Only ``*.json``, ``*.txt`` and ``*.safetensors`` of a repository are downloaded: no Python, no pickles. Of TripoSR and
Splatter Image, which are published as nothing else, it is the checkpoint that :data:`KNOWN` names.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._files import data_dir
from ..errors import WeightsError
from . import download

TEXTS = ("*.json", "*.txt")
"""Files of a repository that are downloaded beside the weights of the used components."""
WEIGHTS = "*.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Suffixes of files that run code when they are read. They are neither downloaded nor opened."""
CHECKPOINTS = (".ckpt", ".pth")
"""Of these, those of single networks: they are opened by a reader that refuses code."""


@dataclass(frozen=True)
class KnownModel:
    """A model that this package knows by name.

    Attributes:
        what: description, for the list in an error message.
        takes: what goes in: "image", "text".
        gives: what comes out: "Gaussians", "mesh", "views" (four images) or "half" (needs another half).
        parameters: of all its networks.
        download: bytes.
        memory: bytes that a run takes on a CPU in float32, estimated.
        work: billions of multiplications and additions of one object with the default settings, estimated.
        licence: of the weights, in words.
        forbidden: what the licence forbids, in words.
        rotation: LGM's setting, which no published configuration states.
        checkpoint: name of its one file, if it is not in diffusers' layout.
        sha256: component -> sha256 of its one weight file; or the checkpoint's name -> its sha256.
    """

    what: str
    takes: str = "image"
    gives: str = "Gaussians"
    parameters: int = 0
    download: int = 0
    memory: int = 0
    work: float = 0.0
    licence: str = "see its page on the hub"
    forbidden: str = ""
    rotation: str | None = None
    checkpoint: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)


_IMAGEDREAM = {
    "unet": "28d8b241a54125fa0a041c1818a5dcdb717e6f5270eea1268172acd3ab0238e0",
    "vae": "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a",
    "text_encoder": "bc1827c465450322616f06dea41596eac7d493f4e95904dcb51f0fc745c4e13f",
    "image_encoder": "2a56cfd4ffcf40be097c430324ec184cc37187f6dafef128ef9225438a3c03c4",
}
_LGM_FULL = _IMAGEDREAM | {"lgm": "79e5160e1fc45559515579a7e41ffc22606cf41c3ed8581b09dae9b4ce437099"}
_RAIL = "OpenRAIL (Stable Diffusion's) for the first half, MIT for LGM"
_RAIL_FORBIDS = "the uses that OpenRAIL lists: harm, deception, unlawful use"
_VIEWS_HALF = KnownModel(
    "ImageDream, the first half of LGM-full",
    gives="views",
    parameters=1_996_480_463,
    download=3_993_000_000,
    memory=10_000_000_000,
    work=105_000.0,
    licence=_RAIL,
    forbidden=_RAIL_FORBIDS,
)
_LGM_HALF = KnownModel(
    "LGM, with its rotations mended: pass it as lgm=",
    takes="views",
    gives="half",
    parameters=415_042_848,
    download=830_000_000,
    memory=3_700_000_000,
    work=2_500.0,
    licence="MIT",
)

# Parameters of LGM-full are those of the files; sizes of single-file models are the files', in bytes. Work is counted
# for one pass through each network (times steps, times 2 with guidance). Memory is estimated from the parameters.
#
# "identity": LGM's weights from before its rotation fix were trained as axis-aligned Gaussians; their rotation channels
# hold noise. "normalized": the weights trained after it.
KNOWN = {
    "tiny": KnownModel(
        "bundled, 64-pixel views, runs on any CPU",
        parameters=6_745_690,
        memory=900_000_000,
        work=60.0,
        licence="CC0, as good as public domain",
    ),
    "stabilityai/TripoSR": KnownModel(
        "TripoSR, one picture to a mesh in under a minute on a CPU",
        gives="mesh",
        parameters=419_275_628,
        download=1_677_246_742,
        memory=2_600_000_000,
        work=1_400.0,
        licence="MIT",
        checkpoint="model.ckpt",
        sha256={"model.ckpt": "429e2c6b22a0923967459de24d67f05962b235f79cde6b032aa7ed2ffcd970ee"},
    ),
    "szymanowiczs/splatter-image-v1": KnownModel(
        "Splatter Image, one picture to Gaussians in seconds on a CPU",
        parameters=56_378_736,
        download=677_000_000,
        memory=1_000_000_000,
        work=110.0,
        licence="MIT for the weights (its authors' U-Net code is non-commercial; it is not used here)",
        checkpoint="model_latest.pth",
    ),
    "openai/shap-e-img2img": KnownModel(
        "Shap-E, one picture to a mesh by diffusion",
        gives="mesh",
        parameters=845_000_000,
        download=3_400_000_000,
        memory=5_000_000_000,
        work=52_000.0,
        licence="MIT",
    ),
    "dylanebert/LGM-full": KnownModel(
        "ImageDream and LGM, 256-pixel views; needs about 10 GB of memory in float32",
        parameters=2_411_523_311,
        download=4_823_313_534,
        memory=11_600_000_000,
        work=105_000.0,
        licence=_RAIL,
        forbidden=_RAIL_FORBIDS,
        rotation="identity",
        sha256=_LGM_FULL,
    ),
    "ashawkey/imagedream-ipmv-diffusers": replace(
        _VIEWS_HALF,
        what="ImageDream, one picture to four views; with lgm='ashawkey/LGM' it makes objects",
        sha256=_IMAGEDREAM,
    ),
    "dylanebert/multi-view-diffusion": _VIEWS_HALF,
    "ashawkey/mvdream-sd2.1-diffusers": KnownModel(
        "MVDream, a sentence to four views; with lgm='ashawkey/LGM' it makes objects",
        takes="text",
        gives="views",
        parameters=1_290_000_000,
        download=2_580_000_000,
        memory=7_200_000_000,
        work=85_000.0,
        licence="OpenRAIL++ (Stable Diffusion 2.1's)",
        forbidden=_RAIL_FORBIDS,
    ),
    "dylanebert/LGM": replace(_LGM_HALF, what="LGM, the second half of LGM-full: pass it as lgm=", rotation="identity"),
    "ashawkey/LGM": _LGM_HALF,
}
"""Names that :func:`resolve` and :func:`resolve_lgm` know."""
BARE_ROTATION = {"model_fp16_fixrot.safetensors": "normalized", "model_fp16.safetensors": "identity"}
"""LGM's published files without a configuration, the better one first, and the rotation each was trained with."""
_VIEWS_FIRST = ("LGMFullPipeline", "MVDreamPipeline", None)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FILE = re.compile(r"([\w.-]+/[\w.-]+)/([\w.-]+)")


def resolve(name: str, revision: str | None = None, skip: Sequence[str] = ()) -> Path:
    """Find a model's folder, or the one file of a single network, and download it if needed.

    Args:
        name: "tiny", a folder that holds ``model_index.json`` or one checkpoint, such a file itself ("~" is the home
            folder), or a repository "owner/name".
        revision: branch or commit of the repository; None is its main branch.
        skip: components whose weights are not needed and not downloaded.

    Returns:
        The folder in diffusers' layout: the given one, the bundled one, or one in the hub's cache. Of a single network
        its file, which may be a pickle: read it with :func:`image3d_nb.pipelines.checkpoints.load_checkpoint`.

    Raises:
        WeightsError: there is no such model, or its files cannot be downloaded. The message names the known models.

    Warns:
        UserWarning: the repository is unknown to this package.
    """
    name = os.path.expanduser(name)  # noqa: PTH111 -- pathlib raises for an unknown user
    if name == "tiny":
        if Path("tiny", "model_index.json").is_file():
            from ..images.caller import warn  # with it come NumPy and Pillow

            warn('"tiny" is the bundled model; "./tiny" is the folder here')
        return _complete(data_dir() / "models" / "tiny", name)
    if os.path.isdir(name):  # noqa: PTH112 -- pathlib raises for a name that is too long
        return _single_file(Path(name)) or _complete(Path(name), name)
    if name.endswith((".safetensors", *PICKLES)):
        if not name.endswith(CHECKPOINTS):
            refuse_pickle(name)
        if not os.path.isfile(name):  # noqa: PTH113 -- the same
            raise WeightsError(f"a model's file must exist; there is no {name!r}")
        return Path(name)
    _check_repository(name)
    known = KNOWN.get(name)
    if known is not None and known.checkpoint is not None:
        file = download.fetch(name, revision, [known.checkpoint, *TEXTS]) / known.checkpoint
        if not file.is_file():
            raise WeightsError(f"{name!r} must hold {known.checkpoint}; it does not: choose another revision=")
        download.check(file.parent, known.sha256)
        return file
    folder = _complete(download.fetch(name, revision, TEXTS), name)
    names = [part for part in read_json(folder / "model_index.json") if not part.startswith("_") and part not in skip]
    return _weights_of(name, folder, [f"{part}/{WEIGHTS}" for part in names])


def is_single_image(name: str) -> bool:
    """True for a model from one image straight to an object, by its name alone: nothing is downloaded."""
    if name in KNOWN:
        return KNOWN[name].checkpoint is not None or name == "openai/shap-e-img2img"
    name = os.path.expanduser(name)  # noqa: PTH111 -- as above
    if not os.path.isdir(name):  # noqa: PTH112 -- as above
        return name.endswith((".safetensors", *CHECKPOINTS))  # what `resolve` takes for a file
    index = Path(name) / "model_index.json"
    return read_json(index).get("_class_name") not in _VIEWS_FIRST if index.is_file() else True


def resolve_lgm(name: str, revision: str | None = None) -> Path:
    """Find LGM's own folder (``config.json`` and weights), or its bare weight file, and download it if needed.

    Args:
        name: "tiny"; such a folder or file; the folder of a whole model; a repository "owner/name" of any of these; or
            a file in one, "owner/name/file.safetensors".
        revision: branch or commit of the repository; None is its main branch.

    Returns:
        The folder or the file.

    Raises:
        WeightsError: there is no such model, or its files cannot be downloaded.

    Warns:
        UserWarning: the repository is unknown to this package.
    """
    name = os.path.expanduser(name)  # noqa: PTH111 -- as above
    refuse_pickle(name)
    if name == "tiny":
        return data_dir() / "models" / "tiny" / "lgm"
    if os.path.isfile(name):  # noqa: PTH113 -- pathlib raises for a name that is too long
        return Path(name)
    if os.path.isdir(name):  # noqa: PTH112 -- the same
        return Path(name) / "lgm" if (Path(name) / "lgm").is_dir() else Path(name)
    within = _FILE.fullmatch(name)
    repository = within[1] if within else name
    _check_repository(repository)
    folder = download.fetch(repository, revision, TEXTS)
    if within is None and (folder / "model_index.json").is_file():
        return _weights_of(repository, folder, [f"lgm/{WEIGHTS}"]) / "lgm"
    for file in [within[2]] if within else BARE_ROTATION:
        _weights_of(repository, folder, [file])
        if (folder / file).is_file():
            return folder / file
    wanted = within[2] if within else "model_index.json, or one of " + ", ".join(BARE_ROTATION)
    raise WeightsError(f"{repository!r} must hold {wanted}; it does not: look at https://huggingface.co/{repository}")


def rotation_of(name: str, path: Path) -> str | None:
    """Look up the ``rotation`` setting of LGM's weights by their repository or file name.

    Args:
        name: the name that the user gave.
        path: the model's folder, or LGM's folder or bare file.

    Returns:
        "identity", "normalized", or None for unknown weights.
    """
    if path.suffix == ".safetensors":
        return BARE_ROTATION.get(path.name)
    origin = download.hub_origin(path)
    known = KNOWN.get(name) or KNOWN.get(origin[0] if origin else "")
    return known.rotation if known else None


def origin_of(path: Path) -> str:
    """Describe where a folder or file is from: "owner/name@commit", with a bare file's name; or the local path."""
    origin = download.hub_origin(path)
    file = f"/{path.name}" if path.suffix in (".safetensors", *CHECKPOINTS) else ""
    return f"{origin[0]}{file}@{origin[1]}" if origin else str(path)


def commit_of(path: Path) -> str | None:
    """Return the hub's commit of a folder or file in its cache; None for one elsewhere."""
    origin = download.hub_origin(path)
    return origin[1] if origin else None


def model_hash(weights: Path) -> str:
    """Hash a folder's weight files, or one file.

    Args:
        weights: the folder or file.

    Returns:
        sha256, in hexadecimal, over the files' names and contents in order of name.
    """
    digest = hashlib.sha256()
    folder = weights.parent if weights.is_file() else weights
    for file in [weights] if weights.is_file() else sorted(folder.rglob(WEIGHTS)):
        digest.update(file.relative_to(folder).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 24):  # a file may not fit in memory
                digest.update(block)
    return digest.hexdigest()


def refuse_pickle(name: str | Path) -> None:
    """Raise a WeightsError if a file's name says that reading it runs code."""
    if str(name).endswith(PICKLES):
        raise WeightsError(
            f"weights must be .safetensors; got the pickle {str(name)!r}, which runs code when it is read: look for the"
            " model's .safetensors, or ask its author to convert it"
        )


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Args:
        file: the file.

    Returns:
        The object.

    Raises:
        WeightsError: the file is missing or holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{file}: the file is needed; it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise WeightsError(f"{file}: the file must hold JSON; {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file}: the file must hold a JSON object; got {type(content).__name__}")
    return content


def _single_file(folder: Path) -> Path | None:
    """The one checkpoint in a folder that is not in diffusers' layout, or None."""
    if (folder / "model_index.json").is_file():
        return None
    usual = [folder / model.checkpoint for model in KNOWN.values() if model.checkpoint is not None]
    found = [file for file in usual if file.is_file()]
    found = found or [file for file in sorted(folder.iterdir()) if file.suffix in CHECKPOINTS]
    found = found or [file for file in (folder / "model.safetensors",) if file.is_file()]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise WeightsError(f"{folder}: a folder without model_index.json must hold one checkpoint; it holds {names}")
    return found[0] if found else None


def _complete(folder: Path, name: str) -> Path:
    index = folder / "model_index.json"
    if not index.is_file():
        raise WeightsError(f"{folder}: a model's folder must hold model_index.json; there is none")
    parts = read_json(index)
    if "unet" not in parts and "lgm" in parts:
        raise WeightsError(
            f"{folder}: a model must have a unet, which makes the four views; got only LGM, which turns views into"
            f" Gaussians: load_pipeline('dylanebert/multi-view-diffusion', lgm={name!r})"
        )
    return folder


def _check_repository(name: str) -> None:
    if not _REPOSITORY.fullmatch(name):
        known = "; ".join(f"{key!r} ({model.what})" for key, model in KNOWN.items())
        raise WeightsError(f"a model must be a folder, a hub repository or one of {known}; got {name!r}")
    if name not in KNOWN:
        warnings.warn(
            f"{name!r} is an unknown repository: its weights are loaded, its code is not downloaded or run",
            stacklevel=4,  # the caller of load_pipeline or from_pretrained
        )


def _weights_of(repository: str, folder: Path, patterns: Sequence[str]) -> Path:
    """Download weights of the commit that ``folder`` holds, and check them."""
    download.fetch(repository, folder.name, patterns)
    known = KNOWN.get(repository)
    if folder.is_dir():  # a repository without such files makes no folder
        download.check(folder, known.sha256 if known else {})
    return folder
