"""The object of one image among many: what each process and each actor runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..errors import Image3DError
from ..generate import GenerateSettings, generate_one, image_name
from ..hub.weights import resolve, resolve_lgm
from ..record import Record, model_record
from .store import Row, Store, file_system

TRIES = 5  # an image during which this many processes ended (out of memory, for one) is an error
MAX_BYTES = 50_000_000  # of a download


class Maker:
    """Makes the object of one image: what each process and each actor holds."""

    def __init__(self, out: str, settings: GenerateSettings) -> None:
        self.out, self.settings, self.store = out, settings, Store(out)

    def model(self) -> Record:
        """The record's part about the model, whose files are downloaded if need be."""
        chosen = self.settings
        folder = resolve(chosen.model, chosen.revision, skip=() if chosen.lgm is None else ("lgm",))
        return model_record(chosen.model, folder, None if chosen.lgm is None else resolve_lgm(chosen.lgm))

    def __call__(self, item: Row) -> Row:
        """{"answer": the row of one image as JSON}; every error becomes a row."""
        row: Row = {
            "row": item["row"], "source": item["source"], "name": image_name(item["source"]), "id": None,
            "status": "error", "made": False, "error": None,
            **{f"manifest.{name}": value for name, value in json.loads(item["others"]).items()},
        }  # fmt: skip
        try:
            content = _read(item["source"])
            row["id"] = hashlib.sha256(content).hexdigest()[:32]
            record, row["made"] = self._make(content, row["id"])
            row.update(_flat(record), status="done")
        except (Image3DError, OSError, ImportError) as error:
            row["error"] = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 -- one image must not stop the others
            traceback.print_exception(error)
            row["error"] = f"unexpected {type(error).__name__}: {error}"
        return {"answer": json.dumps(row, ensure_ascii=False)}

    def _make(self, content: bytes, name: str) -> tuple[Record, bool]:
        from filelock import FileLock

        tries = self.store.state / "tries" / name
        tries.parent.mkdir(parents=True, exist_ok=True)  # on this machine, if the results are not
        steps: list[str] = []

        def on_step(stage: str, done: int, total: int) -> None:
            if stage == "load" and done == total:  # a process that ends from here on may end because of the image
                with tries.open("a") as stream:
                    stream.write(".")
            steps.append(stage)

        # Equal images wait for each other. 4096 locks, not one an image, so that their number stays small.
        (self.store.state / "locks").mkdir(exist_ok=True)
        with FileLock(self.store.state / "locks" / name[:3]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the record has them
            try:
                if tries.exists() and tries.stat().st_size >= TRIES:
                    raise Image3DError(f"{TRIES} processes ended while they made it: is there enough memory?")
                if self.store.local:
                    record = generate_one(content, self.store.path(f"objects/{name}"), self.settings, on_step)
                else:
                    record = self._make_remote(content, f"objects/{name}", on_step)
            finally:  # a killed process leaves its mark
                tries.unlink(missing_ok=True)
        return record, bool(steps)

    def _make_remote(self, content: bytes, name: str, on_step: Callable[[str, int, int], object]) -> Record:
        found = self.store.record(name)
        wanted = (
            hashlib.sha256(content).hexdigest(), self.model(), __version__,
            dataclasses.asdict(self.settings) | {"formats": list(self.settings.formats)},
        )  # fmt: skip
        if (
            found
            and (found["input"]["sha256"], found["model"], found["versions"]["image3d_nb"], found["settings"]) == wanted
        ):
            return found
        with tempfile.TemporaryDirectory(prefix="image3d-") as folder:
            record = generate_one(content, Path(folder) / "made", self.settings, on_step)
            self.store.upload(Path(folder) / "made", name, record)
        return record


def _flat(record: Record, prefix: str = "") -> Row:
    """{"a": {"b": 1}, "c": [2]} -> {"a.b": 1, "c": "[2]"}: a table's cell holds one value."""
    flat: Row = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
    return flat


def _read(source: str) -> bytes:
    if re.match(r"https?://", source, re.IGNORECASE):
        from ..images.download import download_image

        return download_image(source, 60.0, MAX_BYTES)
    fs, path, _ = file_system(source)
    return bytes(fs.cat_file(path))
