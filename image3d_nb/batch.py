"""Many images: one folder an image by :func:`image3d_nb.generate_one`, in processes here or on a Ray cluster.

Both engines run :class:`_Maker` on one image at a time. A folder's name comes from the image's content, files appear
complete or not at all, and what exists is not made again: after any crash, the same call continues.

A run writes into its folder: ``objects/ID/`` for each image, ``results.parquet`` and ``results.csv`` with one row an
image, ``contact/001.jpg`` and so on, and ``.batch/``, its working files.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from . import __version__
from ._files import atomic_path
from ._optional import require
from .errors import Image3DError, InputError
from .generate import GenerateSettings, generate_one, image_name
from .hub.weights import resolve, resolve_lgm
from .record import RECORD, Record, model_record

ENGINES = ("local", "ray")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif")
"""Files that are taken from a folder."""
TRIES = 5  # an image during which this many processes ended (out of memory, for one) is an error
PAGE = 60  # images on one contact sheet
CHUNK = 256  # rows in memory at a time
MOST_BLOCKS = 4000  # of Ray's data, whose bookkeeping grows with them
MAX_BYTES = 50_000_000  # of a download

Row: TypeAlias = dict[str, Any]


class BatchResult(NamedTuple):
    """What :func:`generate_many` did."""

    total: int  # images listed, repeated ones included
    made: int  # objects that this run made; the others existed or failed
    errors: int  # images without an object
    table: str  # path of results.parquet; results.csv is beside it


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

    Raises:
        InputError: an argument, a manifest or ``out`` cannot be used, or there are no images.
        WeightsError: the model does not exist or is damaged.
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
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < least):
        raise InputError(f"workers must be a whole number of {least} or more for engine {engine}; got {workers!r}")
    if address is not None and engine != "ray":
        raise InputError(f'address must go with engine "ray"; got {address!r} with engine {engine!r}')
    if engine == "ray" and settings.device.startswith("cuda:"):
        raise InputError(f'device must be "cuda" with Ray, which gives each actor its GPU; got {settings.device!r}')
    maker = _Maker(os.fspath(out), settings)
    maker.model()  # a missing model stops everything here
    store = maker.store
    with ExitStack() as stack:
        store.prepare(stack)
        total = _write_index(_listed(images, store), store)
        if engine == "ray":
            answers = _with_ray(maker, total, workers, address)
        else:
            answers = _in_processes(maker, _index(store), 1 if workers is None else workers)
        return _collect(stack.enter_context(closing(answers)), store, total, on_step)


# ---------------------------------------------------------------- one image


class _Store:
    """The folder of the results: a local path or an fsspec URL, and a local folder for locks."""

    def __init__(self, url: str) -> None:
        self.fs, self.root, self.local = _file_system(url)
        shared = Path(tempfile.gettempdir()) / f"image3d-batch-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
        self.state = Path(self.root) / ".batch" if self.local else shared

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def prepare(self, stack: ExitStack) -> None:
        """Lock the folder for one run at a time, and sweep it before and after."""
        from filelock import FileLock, Timeout

        try:
            for folder in ("objects", "contact", ".batch"):
                self.fs.makedirs(self.path(folder), exist_ok=True)
            for folder in ("locks", "tries"):
                (self.state / folder).mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(self.state / "run.lock", timeout=0))
        except Timeout:
            raise InputError(f"out must not be in use by another run; {self.root} is") from None
        except OSError as error:
            raise InputError(f"out must be a folder that can be written; {self.root}: {error}") from error
        self.sweep()
        stack.callback(self.sweep)

    def sweep(self) -> None:
        """Remove what killed processes left half-made."""
        for left in Path(self.path("objects")).glob(".*-*") if self.local else ():
            shutil.rmtree(left, ignore_errors=True)

    def put(self, name: str, content: bytes) -> None:
        """Write a file: atomically in a local folder; an object store writes whole files anyway."""
        if not self.local:
            self.fs.pipe_file(self.path(name), content)
            return
        with atomic_path(self.path(name)) as temporary:
            temporary.write_bytes(content)

    def upload(self, folder: Path, name: str, record: Record) -> None:
        """Copy a result. The old record goes first and the new one comes last, so none is ever wrong."""
        if self.fs.exists(self.path(f"{name}/{RECORD}")):
            self.fs.rm_file(self.path(f"{name}/{RECORD}"))
        self.fs.makedirs(self.path(name), exist_ok=True)
        for file in (*record["files"], RECORD):
            self.put(f"{name}/{file}", (folder / file).read_bytes())

    def record(self, name: str) -> Record:
        """The record of an uploaded result whose files have the sizes that it gives; else an empty one."""
        try:
            record: Record = json.loads(self.fs.cat_file(self.path(f"{name}/{RECORD}")))
            sizes = {Path(each["name"]).name: each["size"] for each in self.fs.ls(self.path(name), detail=True)}
            complete = all(sizes.get(file) == each["bytes"] for file, each in record["files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing, or a foreign file
            return {}
        return record if complete else {}


class _Maker:
    """Makes the object of one image: what each process and each actor holds."""

    def __init__(self, out: str, settings: GenerateSettings) -> None:
        self.out, self.settings, self.store = out, settings, _Store(out)

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


# ---------------------------------------------------------------- the images


def _file_system(url: str) -> tuple[Any, str, bool]:
    """The file system of a path or URL, the path in it, and whether it is this machine's."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    try:
        fs, path = fsspec.core.url_to_fs(os.path.expanduser(url))  # noqa: PTH111 -- it may be a URL
    except (ValueError, ImportError) as error:  # unknown protocol, or its package is missing
        raise InputError(f"a path must be local or a URL that fsspec knows; {url}: {error}") from error
    return fs, path.rstrip("/") or "/", isinstance(fs, LocalFileSystem)


def _read(source: str) -> bytes:
    if re.match(r"https?://", source, re.IGNORECASE):
        from .images.download import download_image

        return download_image(source, 60.0, MAX_BYTES)
    fs, path, _ = _file_system(source)
    return bytes(fs.cat_file(path))


def _listed(images: Any, store: _Store) -> Iterator[Row]:
    """Each image's path or URL with the manifest's other columns."""
    if not isinstance(images, (str, os.PathLike)):
        for image in images:
            yield {"source": _absolute(os.fspath(image)), "others": "{}"}
        return
    name = os.fspath(images)
    fs, path, local = _file_system(name)
    if fs.isdir(path):
        found: Iterable[str] = _below(fs, path, local, store)
    elif path.lower().endswith((".csv", ".parquet")):
        yield from _manifest(fs, path, name)
        return
    elif fs.exists(path):
        found = [path]
    elif any(letter in path for letter in "*?["):
        found = sorted(each for each in fs.glob(path) if fs.isfile(each))
    else:
        raise InputError(f"images must be a folder, a pattern, a manifest (.csv, .parquet) or a file; got {name!r}")
    for each in found:
        yield {"source": each if local else fs.unstrip_protocol(each), "others": "{}"}


def _absolute(source: str, folder: str = "") -> str:
    """A URL as it is; a path from the root, so that processes elsewhere find it."""
    if "://" in source:
        return source
    return f"{folder}/{source}" if "://" in folder else str(Path(folder, source).expanduser().absolute())


def _below(fs: Any, path: str, local: bool, store: _Store) -> Iterator[str]:
    """Images in a folder to any depth, without hidden ones and those of the results."""
    for folder, below, names in os.walk(path) if local else fs.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))  # remote ones are walked all the same
        if "/." in folder.removeprefix(path) or f"{folder}/".startswith(f"{store.root}/"):
            below.clear()
            continue
        for name in sorted(names):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield f"{folder}/{name}"


def _manifest(fs: Any, path: str, name: str) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    folder = name.rpartition("/")[0] if "://" in name else str(Path(path).parent)
    try:
        with fs.open(path, "rb") as stream:
            if path.lower().endswith(".csv"):
                rows: Iterator[Row] = csv.DictReader(io.TextIOWrapper(stream, "utf-8-sig", newline=""))
            else:
                batches = parquet.ParquetFile(stream).iter_batches(CHUNK)
                rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                image = row.pop("image", None)
                if not isinstance(image, str) or not image:
                    raise InputError(f"a manifest must have a path or URL in column image; row {number} has {image!r}")
                others = {str(key): None if value is None else str(value) for key, value in row.items()}
                yield {"source": _absolute(image, folder), "others": json.dumps(others)}
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise InputError(f"a manifest must be readable, .csv in UTF-8 or .parquet; {name}: {error}") from error


def _write_index(items: Iterator[Row], store: _Store) -> int:
    """List all images in ``.batch/index.parquet``, from which the engines read; return their number."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("row", "int64"), ("source", "string"), ("others", "string")])
    total = 0
    store.fs.makedirs(store.path(".batch"), exist_ok=True)
    with store.fs.open(store.path(".batch/index.parquet"), "wb") as stream, parquet.ParquetWriter(stream, schema) as to:
        while chunk := list(islice(items, 16 * CHUNK)):
            rows = [item | {"row": total + number} for number, item in enumerate(chunk)]
            to.write_table(pa.Table.from_pylist(rows, schema))
            total += len(rows)
    if not total:
        raise InputError(f"there must be at least one image, named {', '.join(SUFFIXES)}; found none")
    return total


def _index(store: _Store) -> Iterator[Row]:
    from pyarrow import parquet

    with store.fs.open(store.path(".batch/index.parquet"), "rb") as stream:
        for batch in parquet.ParquetFile(stream).iter_batches(CHUNK):
            yield from batch.to_pylist()


# ---------------------------------------------------------------- engines: items in, rows out in any order


def _in_processes(maker: _Maker, items: Iterator[Row], workers: int) -> Generator[str]:
    if not workers:
        yield from (maker(item)["answer"] for item in items)
        return
    processes = [_Process(maker, workers) for _ in range(workers)]
    idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()

    def ask(item: Row) -> str:
        process = idle.get()
        try:
            return process.ask(item)
        finally:
            idle.put(process)

    for process in processes:
        idle.put(process)
    with ThreadPoolExecutor(workers) as pool:
        try:
            pending: set[Future[str]] = {pool.submit(ask, item) for item in islice(items, 2 * workers)}
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(ask, item) for item in islice(items, len(done))}
                yield from (future.result() for future in done)
        finally:
            for process in processes:
                process.close()


class _Process:
    """A process that makes one object after the other; one that ends is replaced, and its image tried again.

    It is a program with pipes, not one of multiprocessing's: those run the caller's script once more. It ends when this
    process does, because its input ends.
    """

    def __init__(self, maker: _Maker, of: int) -> None:
        settings = json.dumps(dataclasses.asdict(maker.settings))
        self._command = [sys.executable, "-m", __name__, maker.out, settings]
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        threads = str(max(1, (os.cpu_count() or 1) // of))
        self._environment = {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": path}
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, item: Row) -> str:
        """The row of one image."""
        for _ in range(4 * TRIES):  # TRIES processes that end make the image an error; others end while they start
            if self._closed:
                break
            if self._running is None:
                self._running = subprocess.Popen(  # noqa: S603 -- this interpreter and this module
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
                )
            to, answers = self._running.stdin, self._running.stdout
            assert to is not None  # a pipe
            assert answers is not None  # the same
            with suppress(OSError):
                to.write(json.dumps(item).encode() + b"\n")
                to.flush()
                if (answer := answers.readline()).endswith(b"\n"):
                    return answer.decode()
            self._running.kill()
            with suppress(OSError):  # what was not written
                self._running.communicate()
            self._running = None
        raise Image3DError(f"a process that makes objects must start and stay; it ended {4 * TRIES} times")

    def close(self) -> None:
        """End the process at once; the next run makes what it was making."""
        self._closed = True
        if self._running is not None:
            self._running.kill()


def _serve(out: str, settings: str) -> None:
    """The program of a :class:`_Process`: reads an image a line, writes a row a line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    maker = _Maker(out, GenerateSettings(**json.loads(settings)))
    with suppress(BrokenPipeError):  # the parent has ended
        for line in sys.stdin.buffer:
            answers.write(maker(json.loads(line))["answer"].encode() + b"\n")
            answers.flush()


def _with_ray(maker: _Maker, total: int, workers: int | None, address: str | None) -> Generator[str]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", "batch", "image3d_nb.generate_many")
    require("ray.data", "batch", "image3d_nb.generate_many")
    started = not ray.is_initialized()
    if started:
        ray.init(address, log_to_driver=False, **({} if address else {"include_dashboard": False}))
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        on_gpu = maker.settings.device.startswith("cuda")
        size = workers or int(ray.cluster_resources().get("GPU", 1)) if on_gpu else workers or len(ray.nodes())
        blocks = min(max(min(-(-total // 32), MOST_BLOCKS), 4 * size), total)
        listed = ray.data.read_parquet(
            maker.store.path(".batch/index.parquet"), override_num_blocks=blocks, num_cpus=0.1,
            filesystem=None if maker.store.local else maker.store.fs,
        )  # fmt: skip
        # Less than half of the CPUs are reserved: actors of a lost node must find room on the others.
        cpus = min(1.0, 0.45 * ray.cluster_resources().get("CPU", 1) / size)
        rows = listed.map(
            _Maker, compute=ray.data.ActorPoolStrategy(size=size), num_cpus=cpus, num_gpus=1 if on_gpu else 0,
            fn_constructor_args=(maker.out, maker.settings), scheduling_strategy="SPREAD",
        )  # fmt: skip
        for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from batch["answer"].to_pylist()
    finally:
        if started:
            ray.shutdown()


# ---------------------------------------------------------------- the table and the contact sheets


def _collect(
    answers: Iterator[str], store: _Store, total: int, on_step: Callable[[str, int, int], object] | None
) -> BatchResult:
    made = errors = done = 0
    cells: list[tuple[str, str | None]] = []  # (name, id or None) of the images on the next contact sheet
    log = store.state / "rows.jsonl"
    with log.open("w", encoding="utf-8") as stream:
        for done, answer in enumerate(answers, 1):
            row = json.loads(answer)
            stream.write(answer.rstrip("\n") + "\n")
            made += row["made"]
            errors += row["status"] == "error"
            cells.append((row["name"], row["id"] if row["status"] == "done" else None))
            if len(cells) == PAGE or done == total:
                store.put(f"contact/{-(-done // PAGE):03}.jpg", _contact_sheet(store, cells))
                cells.clear()
            if on_step is not None:
                on_step("images", done, total)
    if done != total:
        raise Image3DError(f"each of {total} images must have a row; there are {done}: run the same call again")
    return BatchResult(total, made, errors, _write_tables(log, store))


def _contact_sheet(store: _Store, cells: list[tuple[str, str | None]]) -> bytes:
    """Each image as the model saw it, and its four views, three in a row; a red stripe for an error."""
    from PIL import Image

    from .view.sheets import image_bytes, sheet

    images = []
    for _, found in cells:
        canvas = Image.new("RGB", (5 * 66, 64), "white" if found else "lightcoral")
        for file, left, width in (("input.png", 0, 64), ("views.png", 66, 4 * 66)) if found else ():
            content = store.fs.cat_file(store.path(f"objects/{found}/{file}"))
            with Image.open(io.BytesIO(content)) as opened:
                canvas.paste(opened.convert("RGB").resize((width, 64)), (left, 0))
        images.append(canvas)
    captions = [name if found else f"{name}: error" for name, found in cells]
    return image_bytes(sheet(images, 3, captions), "JPEG", quality=85)


def _write_tables(log: Path, store: _Store) -> str:
    """Write results.parquet and results.csv from the rows, in two passes: the columns are known after the first."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    def rows() -> Iterator[Row]:
        with log.open(encoding="utf-8") as stream:
            yield from map(json.loads, stream)

    kinds: dict[str, set[type]] = {}
    for row in rows():
        for name, value in row.items():
            kinds.setdefault(name, set()).update([type(value)] if value is not None else [])
    schema = pa.schema([(name, _arrow_type(found)) for name, found in kinds.items()])
    every = rows()
    with tempfile.TemporaryDirectory(dir=store.state) as folder:
        made = Path(folder) / "results.csv", Path(folder) / "results.parquet"
        with arrow_csv.CSVWriter(made[0], schema) as text, parquet.ParquetWriter(made[1], schema) as table:
            while chunk := list(islice(every, CHUNK)):
                part = pa.Table.from_pylist(chunk, schema)
                text.write_table(part)
                table.write_table(part)
        for file in made:
            if store.local:
                os.replace(file, store.path(file.name))
            else:
                store.fs.put_file(str(file), store.path(file.name))
    return store.path("results.parquet")


def _arrow_type(kinds: set[type]) -> str:
    if kinds == {bool} or kinds == {int}:
        return "bool" if kinds == {bool} else "int64"
    return "float64" if kinds and kinds <= {int, float} else "string"


if __name__ == "__main__":
    _serve(*sys.argv[1:])
