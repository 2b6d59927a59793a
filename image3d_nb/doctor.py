"""``image3d doctor``: what this computer has, what it can run, and the remedy for each known problem.

This module imports only the standard library, and tries everything that may fail in a separate process.
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
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from . import __version__

FULL = "dylanebert/LGM-full"
FULL_FILES = 4_823_313_534
"""Bytes of the five weight files of LGM-full (fp16)."""
FULL_PARAMETERS = {
    "lgm": 415_042_848, "unet": 941_672_900, "vae": 83_653_863, "text_encoder": 340_387_840,
    "image_encoder": 630_766_080,
}  # fmt: skip
_WORK_MEMORY = 2_000_000_000
"""Bytes beside the weights: the program, its libraries and the activations."""
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*?\])?\s*([^;\s]*)\s*(?:;\s*extra\s*==\s*['\"](.+?)['\"])?")
_WHY = {
    "torch": "older ones run code hidden in weight files (CVE-2025-32434)",
    "diffusers": "older ones run a repository's code without asking (CVE-2026-44513)",
}
_DISTRIBUTION = "image3d-nb"
_MARK = "image3d-doctor "  # starts the lines with results of a separate process; libraries print others
_PATIENCE = 300.0  # seconds; the cold first import on a slow disk takes one minute


Problem: TypeAlias = dict[str, str]
"""level: "blocks" (no object can be made), "warning" (something is wrong) or "note"; what: the problem; remedy."""


def _problem(level: str, what: str, remedy: str) -> Problem:
    return {"level": level, "what": what, "remedy": remedy}


def examine() -> dict[str, Any]:
    """Examine this computer and make one object with the tiny model.

    Returns:
        Plain values that JSON can hold: "ready" (the tiny model ran), "machine", "packages" (rows of name, wants,
        found, extra, fits), "devices" (rows of name, about, free_memory), "choice" (device, dtype and memory mode that
        suit LGM-full), "seconds" ("tiny": of one object),
        "models" (rows of name, seconds, memory, fits; estimated),
        "cache" (of weights: folder, free bytes, has_full, offline)
        and "findings" (rows of level, what, remedy; the gravest first).
    """
    found: dict[str, Any] = {"machine": _machine(), "packages": packages(), "cache": _cache()}
    trial = _in_another_process("from image3d_nb.doctor import _trial; _trial()")
    found["ready"] = "tiny" in trial
    found["devices"] = trial.get("devices", [])
    found["choice"] = _choice(trial, found["machine"]["free_memory"])
    found["seconds"] = {"tiny": trial.get("tiny")}
    found["models"] = _models(trial, found["machine"]["free_memory"])
    findings = [
        *_package_findings(found["packages"], found["ready"]),
        *_torchvision_findings(found["ready"]),
        *([] if found["ready"] else [_failure(trial.get("error", "no reason was given"))]),
        *_weight_findings(found["cache"], found["choice"]),
    ]
    order = ("blocks", "warning", "note")
    found["findings"] = sorted(findings, key=lambda each: order.index(each["level"]))
    return found


# ---------------------------------------------------------------- facts


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
    """The requirements in this project's metadata and the installed versions; empty if it is not installed."""
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
    """True if the version ``found`` is within the bounds ``wants``, such as ">=2.6,<3"; "" allows every version."""
    bounds = re.findall(r"(>=|<)\s*([\d.]+)", wants)
    return all((_release(found) >= _release(bound)) == (sign == ">=") for sign, bound in bounds)


def _release(text: str) -> tuple[int, ...]:
    """ "2.13.0+cpu" -> (2, 13): trailing zeros do not count."""
    numbers = re.match(r"[\d.]*", text)
    return tuple(int(n) for n in re.sub(r"(\.0*)*$", "", numbers.group() if numbers else "").split(".") if n)


def _cache() -> dict[str, Any]:
    folder, offline = Path.home(), False
    if find_spec("huggingface_hub"):
        from huggingface_hub import constants

        folder, offline = Path(constants.HF_HUB_CACHE), constants.HF_HUB_OFFLINE
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    weights = folder.glob(f"models--{FULL.replace('/', '--')}/snapshots/*/*/*.safetensors")
    has_full = set(FULL_PARAMETERS) <= {file.parent.name for file in weights if file.exists()}  # links may be broken
    return {
        "folder": str(folder), "free": shutil.disk_usage(existing).free, "has_full": has_full, "offline": offline,
    }  # fmt: skip


# ---------------------------------------------------------------- what runs, and the choice


def _in_another_process(code: str) -> dict[str, Any]:
    """Run Python code that may crash; return the results that it reported, and "error" if it failed."""
    # imports search the same folders as in this process
    start = f"import sys; sys.path[:] = {sys.path!r}; {code}"
    environment = {**os.environ, "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 -- our own Python, our own code
            [sys.executable, "-c", start], env=environment, capture_output=True, text=True, timeout=_PATIENCE,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"it did not finish within {_PATIENCE:.0f} s"}
    results: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            results |= json.loads(line.removeprefix(_MARK))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        results["error"] = last or f"it ended with code {done.returncode}"
    return results


def _trial() -> None:
    """Runs in a separate process: report the devices, the number type, and the seconds of the tiny model."""
    devices = _devices()
    _report({"devices": devices})

    from .hub.table import measured_speed
    from .images import load_image, sample
    from .pipelines import generator, load_pipeline
    from .pipelines.memory import number_type

    _report({"dtype": str(number_type(devices[0]["name"])).removeprefix("torch.")})
    _report({"speed": measured_speed()})
    pipe, image = load_pipeline(), load_image(sample("mug"))
    seconds = []
    for _ in range(2):  # the first run also loads libraries
        start = time.perf_counter()
        pipe(image, generator=generator(0))
        seconds.append(time.perf_counter() - start)
    _report({"tiny": min(seconds)})


def _report(results: dict[str, Any]) -> None:
    sys.stdout.write(f"{_MARK}{json.dumps(results)}\n")
    sys.stdout.flush()


def _devices() -> list[dict[str, Any]]:
    """torch's devices, the best first."""
    import torch

    found: list[dict[str, Any]] = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        memory = torch.cuda.mem_get_info(number)[0]
        found.append({"name": f"cuda:{number}", "about": about.name, "free_memory": memory})
    if torch.backends.mps.is_available():
        found.append({"name": "mps", "about": "Apple GPU", "free_memory": None})  # it shares the computer's memory
    return [*found, {"name": "cpu", "about": f"{torch.get_num_threads()} threads", "free_memory": None}]


def _choice(trial: dict[str, Any], free_memory: int | None) -> dict[str, Any] | None:
    """Device, number type and memory mode that suit LGM-full here; None if the libraries cannot be imported."""
    if "dtype" not in trial:
        return None
    device, dtype = trial["devices"][0], trial["dtype"]
    whole = (4 if dtype == "float32" else 2) * sum(FULL_PARAMETERS.values()) + _WORK_MEMORY
    least = 2 * max(FULL_PARAMETERS.values()) + _WORK_MEMORY  # memory="low" holds one network, 2 bytes per parameter
    free = device["free_memory"] or free_memory
    memory = "normal" if free is None or free >= whole else "low"
    return {"device": device["name"], "dtype": dtype, "memory": memory, "needs": least, "free": free}


def _models(trial: dict[str, Any], free_memory: int | None) -> list[dict[str, Any]]:
    """Rows of name, seconds and memory (estimated, on the CPU) and whether it fits, for each known model."""
    from .hub.table import estimated_seconds
    from .hub.weights import KNOWN

    if "speed" not in trial:
        return []
    return [
        {
            "name": name, "seconds": trial["tiny"] if name == "tiny" and "tiny" in trial else
            estimated_seconds(name, trial["speed"]), "memory": known.memory,
            "fits": free_memory is None or free_memory >= known.memory,
        }
        for name, known in KNOWN.items() if known.gives in ("Gaussians", "mesh", "views")
    ]  # fmt: skip


# ---------------------------------------------------------------- problems and remedies


def _package_findings(rows: list[dict[str, Any]], ready: bool) -> Iterator[Problem]:
    if not rows:
        what = f"{_DISTRIBUTION} runs from a folder and is not installed, so the doctor cannot list missing packages"
        yield _problem("warning", what, f"pip install -e {Path(__file__).resolve().parent.parent}")
    level = "warning" if ready else "blocks"
    for row in rows:
        if row["extra"] is None and not row["fits"]:
            state = f"{row['found']} is installed" if row["found"] else "is missing"
            why = f"; {_WHY[row['name']]}" if row["found"] and row["name"] in _WHY else ""
            what = f"{row['name']} {state}, {row['wants']} is needed{why}"
            yield _problem(level, what, f'pip install --upgrade "{row["name"]}{row["wants"]}"')
    for extra in sorted({row["extra"] for row in rows} - {None}):
        gaps = [row for row in rows if row["extra"] == extra and not row["fits"]]
        if gaps:
            states = (f"{row['name']} ({row['found'] + ' is too old' if row['found'] else 'missing'})" for row in gaps)
            what = f"the extra {extra} is incomplete: {', '.join(states)}"
            yield _problem("note", what, f'pip install --upgrade "{_DISTRIBUTION}[{extra}]", if you want it')


def _torchvision_findings(ready: bool) -> Iterator[Problem]:
    """Diffusers imports torchvision if it is installed. A CUDA build beside a CPU build of torch fails on import."""
    if not find_spec("torchvision"):
        return
    error = _in_another_process("import torchvision").get("error")
    if error:
        level = "warning" if ready else "blocks"
        what = f"torchvision is installed but does not match torch, which breaks diffusers: {error}"
        yield _problem(level, what, "pip uninstall torchvision (nothing here needs it), or install the matching build")


def _failure(error: str) -> Problem:
    remedy = f"solve the other problems first; then: pip install --upgrade --force-reinstall {_DISTRIBUTION}"
    return _problem("blocks", f"the tiny model could not make an object: {error}", remedy)


def _weight_findings(cache: dict[str, Any], choice: dict[str, Any] | None) -> Iterator[Problem]:
    if not cache["has_full"]:
        if cache["offline"]:
            what = f"HF_HUB_OFFLINE is set, but {FULL} is not in {cache['folder']}"
            yield _problem("warning", what, f'unset HF_HUB_OFFLINE, run load_pipeline("{FULL}") once, and set it again')
        if cache["free"] < 1.1 * FULL_FILES:  # the download keeps a tenth beside the files
            what = f"{FULL} needs {_gb(1.1 * FULL_FILES)} of disk; {cache['folder']} has {_gb(cache['free'])} left"
            yield _problem("warning", what, "free some space, or set HF_HOME to a folder on a larger disk")
    if choice and choice["free"] is not None and choice["free"] < choice["needs"]:
        what = f"{FULL} needs {_gb(choice['needs'])} of free memory even with memory='low'; {_gb(choice['free'])} are"
        yield _problem("warning", what, "close other programs, or use a larger machine; the tiny model runs anywhere")


# ---------------------------------------------------------------- the report


def report(found: dict[str, Any]) -> str:
    """The results of :func:`examine` as text."""
    machine, cache, choice, seconds = (found[key] for key in ("machine", "cache", "choice", "seconds"))
    full = f"LGM-full is {'' if cache['has_full'] else 'not '}downloaded"
    memory = f", {_gb(machine['memory'])} memory ({_gb(machine['free_memory'])} free)" if machine["memory"] else ""
    core = [row for row in found["packages"] if row["extra"] is None]
    lines = [
        ("image3d", f"{machine['image3d_nb']}, Python {machine['python']}"),
        ("machine", f"{machine['system']}, {machine['processor']}, {machine['cores']} cores{memory}"),
        ("core", ", ".join(f"{row['name']} {row['found'] or 'MISSING'}" for row in core) or "unknown"),
        ("extras", _extras_line(found["packages"]) or "unknown"),
        ("devices", ", ".join(f"{each['name']} ({each['about']})" for each in found["devices"]) or "unknown"),
        ("weights", f"{cache['folder']}: {_gb(cache['free'])} free; {full}"),
    ]  # fmt: skip
    if choice:
        lines.append(("choice", f"{choice['device']}, {choice['dtype']}, memory={choice['memory']!r} for LGM-full"))
    if seconds["tiny"] is not None:
        lines.append(("tiny", f"{seconds['tiny']:.1f} s an object"))
    for model in found["models"]:
        fits = "" if model["fits"] else ", more than is free"
        lines.append(("model", f"{model['name']}: ~{model['seconds']:.2g} s, {_gb(model['memory'])}{fits} (CPU)"))
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


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
