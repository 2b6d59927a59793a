"""What this computer can run, how fast, and the remedy for each known trap: behind ``image3d doctor``.

This module imports nothing but the standard library. Whatever could break an import is tried in a process of its own,
so that the doctor survives what ails the patient.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import __version__

FULL = "dylanebert/LGM-full"
FULL_FILES = 4_823_313_534
"""Bytes of its five weight files (fp16)."""
FULL_PARAMETERS = {
    "lgm": 415_042_848, "unet": 941_672_900, "vae": 83_653_863, "text_encoder": 340_387_840,
    "image_encoder": 630_766_080,
}  # fmt: skip
FULL_STEPS = 30
FULL_OPERATIONS = {"step": 2.18e12, "rest": 4.88e12}
"""Multiplications and additions of one guided step of its U-Net (10 rows), and of CLIP, VAE (1 in, 4 out) and LGM
together; counted by torch.utils.flop_counter on the "meta" device."""
_OVERHEAD = 1.35
"""Whole networks against the plain convolution and product that are timed: they also normalise, add and attend.
Measured on one CPU core in float32: 1.29 for LGM, 1.35 for the U-Net, which is nine tenths of the work."""
_WORK_MEMORY = 2_000_000_000
"""Bytes beside the weights: the program, its libraries and what passes between layers."""
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*?\])?\s*([^;\s]*)\s*(?:;\s*extra\s*==\s*['\"](.+?)['\"])?")
_WHY = {
    "torch": "older ones run code hidden in weight files (CVE-2025-32434)",
    "diffusers": "older ones run a repository's code without asking (CVE-2026-44513)",
}
_DISTRIBUTION = "image3d-nb"
_MARK = "image3d-doctor "  # starts the lines that a process of ours prints for us; libraries print others
_PATIENCE = 300.0  # seconds; the cold first import on a slow disk takes one minute


@dataclass(frozen=True)
class Finding:
    """One thing to know or to do.

    Attributes:
        level: "blocks" (nothing can be made), "warning" (something is wrong), "note" (nothing is).
        what: what is the matter.
        remedy: what to do.
    """

    level: str
    what: str
    remedy: str


def examine() -> dict[str, Any]:
    """Look at this computer, make one object with the tiny model, and time the large one's arithmetic.

    Returns:
        Plain values that JSON can hold: "ready" (the tiny model ran), "machine", "packages" (a row each: name, wants,
        found, extra, fits), "devices", "choice" (device, dtype, memory: what LGM-full is best run with), "seconds"
        (an object: "tiny" measured, "full" estimated), "cache" (where weights go: folder, free bytes, whether LGM-full
        is there) and "findings" (rows of :class:`Finding`, the gravest first).
    """
    found: dict[str, Any] = {"machine": _machine(), "packages": packages(), "cache": _cache()}
    trial = _in_another_process("from image3d_nb.doctor import _trial; _trial()")
    found["ready"] = "tiny" in trial
    found["devices"] = trial.get("devices", [])
    found["choice"] = _choice(trial, found["machine"]["free_memory"])
    found["seconds"] = {"tiny": trial.get("tiny"), "full": _full_seconds(trial)}
    findings = [
        *_package_findings(found["packages"], found["ready"]),
        *_torchvision_findings(found["ready"]),
        *([] if found["ready"] else [_failure(trial.get("error", "it said nothing"))]),
        *_weight_findings(found["cache"], found["choice"]),
    ]
    order = ("blocks", "warning", "note")
    found["findings"] = [asdict(each) for each in sorted(findings, key=lambda each: order.index(each.level))]
    return found


# ---------------------------------------------------------------- what is here


def _machine() -> dict[str, Any]:
    total, free = None, None
    if find_spec("psutil"):
        import psutil

        memory = psutil.virtual_memory()
        total, free = memory.total, memory.available
    return {
        "image3d_nb": __version__, "python": platform.python_version(), "system": platform.platform(),
        "processor": platform.machine(), "cores": os.cpu_count(), "memory": total, "free_memory": free,
    }  # fmt: skip


def packages() -> list[dict[str, Any]]:
    """What this project asks for, by its own metadata, and what is there; empty where it was never installed."""
    try:
        lines = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:
        return []
    return [_package(line) for line in lines]


def _package(line: str) -> dict[str, Any]:
    match = _REQUIREMENT.fullmatch(line)
    assert match, line  # our own metadata; a test reads every line of it
    name, wants, extra = match.groups()
    try:
        found = version(name)
    except PackageNotFoundError:
        found = None
    return {"name": name, "wants": wants, "found": found, "extra": extra, "fits": bool(found and fits(found, wants))}


def fits(found: str, wants: str) -> bool:
    """Whether a version meets bounds such as ">=2.6,<3".

    ``packaging`` would know more, but it comes with the packages whose absence must be told.
    """
    bounds = re.findall(r"(>=|<)\s*([\d.]+)", wants)
    return all((_release(found) >= _release(bound)) == (sign == ">=") for sign, bound in bounds)


def _release(text: str) -> tuple[int, ...]:
    """ "2.13.0+cpu" -> (2, 13): zeros at the end say nothing."""
    numbers = re.match(r"[\d.]*", text)
    return tuple(int(n) for n in re.sub(r"(\.0*)*$", "", numbers.group() if numbers else "").split(".") if n)


def _cache() -> dict[str, Any]:
    folder, offline = Path.home(), False
    if find_spec("huggingface_hub"):
        from huggingface_hub import constants

        folder, offline = Path(constants.HF_HUB_CACHE), constants.HF_HUB_OFFLINE
    there = next(path for path in (folder, *folder.parents) if path.exists())
    weights = folder.glob(f"models--{FULL.replace('/', '--')}/snapshots/*/*/*.safetensors")
    has_full = set(FULL_PARAMETERS) <= {file.parent.name for file in weights if file.exists()}  # links may be broken
    return {
        "folder": str(folder), "free": shutil.disk_usage(there).free, "has_full": has_full, "offline": offline,
    }  # fmt: skip


# ---------------------------------------------------------------- what it can do


def _in_another_process(code: str) -> dict[str, Any]:
    """Run Python that may die. What it told before it did, and the "error" if it did."""
    # the same places to import from as here, whatever made them so
    start = f"import sys; sys.path[:] = {sys.path!r}; {code}"
    environment = {**os.environ, "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 -- our own Python, our own code
            [sys.executable, "-c", start], env=environment, capture_output=True, text=True, timeout=_PATIENCE,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"it did not end within {_PATIENCE:.0f} s"}
    told: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            told |= json.loads(line.removeprefix(_MARK))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        told["error"] = last or f"it ended with code {done.returncode}"
    return told


def _trial() -> None:
    """In a process of its own: tell of the devices, their speed, and the tiny model's seconds, as far as it comes."""
    devices = _devices()
    _tell({"devices": devices})

    from .images import load_image, sample
    from .pipelines import generator, load_pipeline
    from .pipelines.memory import number_type

    device = devices[0]["name"]
    dtype = number_type(device)
    _tell({"dtype": str(dtype).removeprefix("torch."), "rate": _rate(device, dtype)})

    pipe, image = load_pipeline(), load_image(sample("mug"))
    seconds = []
    for _ in range(2):  # the first also loads what is loaded when first used
        start = time.perf_counter()
        pipe(image, generator=generator(0))
        seconds.append(time.perf_counter() - start)
    _tell({"tiny": min(seconds)})


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(f"{_MARK}{json.dumps(what)}\n")
    sys.stdout.flush()


def _devices() -> list[dict[str, Any]]:
    """The best first."""
    import torch

    found: list[dict[str, Any]] = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        memory = torch.cuda.mem_get_info(number)[0]
        found.append({"name": f"cuda:{number}", "about": about.name, "free_memory": memory})
    if torch.backends.mps.is_available():
        found.append({"name": "mps", "about": "Apple GPU", "free_memory": None})  # it shares the computer's memory
    return [*found, {"name": "cpu", "about": f"{torch.get_num_threads()} threads", "free_memory": None}]


def _rate(device: str, dtype: Any) -> float:
    """Multiplications and additions a second, of the shapes of LGM-full's U-Net: a convolution and a product."""
    import torch

    x = torch.randn(4, 320, 32, 32, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    kernel = torch.randn(320, 320, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    rows = torch.randn(4096, 640, device=device, dtype=dtype)
    matrix = torch.randn(640, 1440, device=device, dtype=dtype)
    operations = 2 * 4096 * (320 * 320 * 9 + 640 * 1440)  # 7.5e9 each
    best = float("inf")
    end = time.perf_counter() + 1.0
    with torch.no_grad():
        while time.perf_counter() < end or best == float("inf"):
            start = time.perf_counter()
            torch.nn.functional.conv2d(x, kernel, padding=1)
            float((rows @ matrix)[0, 0])  # a number on the CPU: so the device is done
            best = min(best, time.perf_counter() - start)
    return operations / best


def _choice(trial: dict[str, Any], free_memory: int | None) -> dict[str, Any] | None:
    """The device, type and memory mode that suit LGM-full here; None where the libraries did not even start."""
    if "dtype" not in trial:
        return None
    device, dtype = trial["devices"][0], trial["dtype"]
    whole = (4 if dtype == "float32" else 2) * sum(FULL_PARAMETERS.values()) + _WORK_MEMORY
    least = 2 * max(FULL_PARAMETERS.values()) + _WORK_MEMORY  # memory="low" holds one network, in two bytes each
    free = device["free_memory"] or free_memory
    memory = "normal" if free is None or free >= whole else "low"
    return {"device": device["name"], "dtype": dtype, "memory": memory, "needs": least, "free": free}


def _full_seconds(trial: dict[str, Any]) -> float | None:
    operations = FULL_STEPS * FULL_OPERATIONS["step"] + FULL_OPERATIONS["rest"]
    return _OVERHEAD * operations / trial["rate"] if "rate" in trial else None


# ---------------------------------------------------------------- traps, and their remedies


def _package_findings(rows: list[dict[str, Any]], ready: bool) -> Iterator[Finding]:
    if not rows:
        what = f"{_DISTRIBUTION} runs from a folder and is not installed, so nobody knows what is missing"
        yield Finding("warning", what, f"pip install -e {Path(__file__).resolve().parent.parent}")
    level = "warning" if ready else "blocks"
    for row in rows:
        if row["extra"] is None and not row["fits"]:
            state = f"{row['found']} is installed" if row["found"] else "is missing"
            why = f"; {_WHY[row['name']]}" if row["found"] and row["name"] in _WHY else ""
            what = f"{row['name']} {state}, {row['wants']} is needed{why}"
            yield Finding(level, what, f'pip install --upgrade "{row["name"]}{row["wants"]}"')
    for extra in sorted({row["extra"] for row in rows} - {None}):
        gaps = [row for row in rows if row["extra"] == extra and not row["fits"]]
        if gaps:
            states = (f"{row['name']} ({row['found'] + ' is too old' if row['found'] else 'missing'})" for row in gaps)
            what = f"the extra {extra} is not complete: {', '.join(states)}"
            yield Finding("note", what, f'pip install --upgrade "{_DISTRIBUTION}[{extra}]", if you want it')


def _torchvision_findings(ready: bool) -> Iterator[Finding]:
    """Diffusers imports torchvision where it finds it. A build for CUDA beside a torch for the CPU dies of that."""
    if not find_spec("torchvision"):
        return
    error = _in_another_process("import torchvision").get("error")
    if error:
        level = "warning" if ready else "blocks"
        what = f"torchvision is installed, but does not fit torch, which breaks diffusers: {error}"
        yield Finding(level, what, "pip uninstall torchvision (nothing here needs it), or install torch's match of it")


def _failure(error: str) -> Finding:
    remedy = "see to what else blocks; if nothing does: pip install --upgrade --force-reinstall " + _DISTRIBUTION
    return Finding("blocks", f"the tiny model could not make its object: {error}", remedy)


def _weight_findings(cache: dict[str, Any], choice: dict[str, Any] | None) -> Iterator[Finding]:
    if not cache["has_full"]:
        if cache["offline"]:
            what = f"HF_HUB_OFFLINE is set, but {FULL} is not in {cache['folder']}"
            yield Finding("warning", what, f'unset HF_HUB_OFFLINE, run load_pipeline("{FULL}") once, and set it again')
        if cache["free"] < 1.1 * FULL_FILES:  # a tenth for what the download keeps beside the files
            what = f"{FULL} needs {_gb(1.1 * FULL_FILES)} of disk; {cache['folder']} has {_gb(cache['free'])} left"
            yield Finding("warning", what, "make room, or set HF_HOME to a folder on a larger disk")
    if choice and choice["free"] is not None and choice["free"] < choice["needs"]:
        what = f"{FULL} needs {_gb(choice['needs'])} of free memory even with memory='low'; {_gb(choice['free'])} is"
        yield Finding("warning", what, "close other programs, or use a larger machine; the tiny model runs anywhere")


# ---------------------------------------------------------------- in words


def report(found: dict[str, Any]) -> str:
    """What :func:`examine` found, for people to read."""
    machine, cache, choice, seconds = (found[key] for key in ("machine", "cache", "choice", "seconds"))
    here = f"LGM-full is {'' if cache['has_full'] else 'not '}there"
    memory = f", {_gb(machine['memory'])} memory ({_gb(machine['free_memory'])} free)" if machine["memory"] else ""
    core = [row for row in found["packages"] if row["extra"] is None]
    lines = [
        ("image3d", f"{machine['image3d_nb']}, Python {machine['python']}"),
        ("machine", f"{machine['system']}, {machine['processor']}, {machine['cores']} cores{memory}"),
        ("core", ", ".join(f"{row['name']} {row['found'] or 'MISSING'}" for row in core) or "unknown"),
        ("extras", _extras_line(found["packages"]) or "unknown"),
        ("devices", ", ".join(f"{each['name']} ({each['about']})" for each in found["devices"]) or "unknown"),
        ("weights", f"{cache['folder']}: {_gb(cache['free'])} free; {here}"),
    ]  # fmt: skip
    if choice:
        lines.append(("choice", f"{choice['device']}, {choice['dtype']}, memory={choice['memory']!r} for LGM-full"))
    if seconds["tiny"] is not None:
        lines.append(("tiny", f"{_seconds(seconds['tiny'])} an object, measured"))
    if seconds["full"] is not None:
        about = f"about {_seconds(seconds['full'])} an object at {FULL_STEPS} steps"
        lines.append(("LGM-full", f"{about}: an estimate, from a timed convolution and product and its published size"))
    text = [f"{name:9} {value}" for name, value in lines]
    for finding in found["findings"]:
        text += ["", f"{finding['level']}: {finding['what']}", f"  -> {finding['remedy']}"]
    return "\n".join([*text, "", "ready: the tiny model runs" if found["ready"] else "not ready: see what blocks"])


def _extras_line(rows: list[dict[str, Any]]) -> str:
    extras: dict[str, bool] = {}
    for row in rows:
        if row["extra"]:
            extras[row["extra"]] = extras.get(row["extra"], True) and row["fits"]
    return ", ".join(f"{name} {'yes' if whole else 'no'}" for name, whole in extras.items())


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2f} s"


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
