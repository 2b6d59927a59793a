"""Write a pipeline to a folder: completely or not at all, with a model card, and optionally Python files."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._files import atomic_write

_OURS = "image3d_nb."


def write_folder(
    pipe: Any, save: Callable[..., None], folder: Path, custom_pipeline: bool, options: Mapping[str, Any]
) -> None:
    """Save a pipeline beside the target, then move file by file.

    Weights that were loaded from the same folder are memory-mapped: overwriting their file would change or break them.

    Args:
        pipe: the pipeline.
        save: its ``save_pretrained`` from diffusers.
        folder: folder to write, created if needed.
        custom_pipeline: True adds the Python files that diffusers' own loader runs.
        options: for ``save``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as name:
        temporary = Path(name)
        save(temporary, **options)
        if custom_pipeline:
            _add_code(pipe, temporary)
        if not (folder / "README.md").exists():
            (temporary / "README.md").write_text(_card(pipe, custom_pipeline), encoding="utf-8")
        _move(temporary, folder)


def _move(temporary: Path, folder: Path) -> None:
    files = sorted(file.relative_to(temporary) for file in temporary.rglob("*") if file.is_file())
    for parent in {file.parent for file in files}:
        (folder / parent).mkdir(exist_ok=True)
    for file in files:
        os.replace(temporary / file, folder / file)
    for parent in {file.parent for file in files if file.parent != Path()}:  # old weights in another number of parts
        for old in (folder / parent).glob("*.safetensors*"):
            if old.relative_to(folder) not in files:
                old.unlink()


def _add_code(pipe: Any, folder: Path) -> None:
    """Write ``pipeline.py``, and a file for each of our components, where diffusers looks for them."""
    kind = type(pipe)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    files = {folder / "pipeline.py": _import("The pipeline", kind)}
    for name, component in pipe.components.items():
        if type(component).__module__.startswith(_OURS):
            module = type(component).__module__.rpartition(".")[2]
            index[name] = [module, type(component).__name__]
            files[folder / name / f"{module}.py"] = _import("A component", type(component))
    files[folder / "model_index.json"] = json.dumps(index, indent=2) + "\n"
    atomic_write({path: text.encode() for path, text in files.items()})


def _import(what: str, kind: type) -> str:
    return (
        f'"""{what} of this model, for diffusers: pip install image3d-nb."""\n\n'
        f"from {kind.__module__} import {kind.__name__}\n\n"
        f'__all__ = ["{kind.__name__}"]\n'
    )


def _card(pipe: Any, custom_pipeline: bool) -> str:
    kind = type(pipe).__name__
    networks = {name: part for name, part in pipe.components.items() if hasattr(part, "parameters")}
    rows = "".join(
        f"| {name} | {type(part).__name__} | {sum(p.numel() for p in part.parameters()):,} | {str(part.dtype)[6:]} |\n"
        for name, part in networks.items()
    )
    if hasattr(pipe, "native"):  # one network, from an image straight to an object
        task, made = "image-to-3d", {"mesh": "a closed mesh with colours", "gaussians": "3D Gaussians"}[pipe.native]
        how = "in one pass"
    else:
        task, made = ("image-to-3d", "3D Gaussians") if "lgm" in networks else ("image-to-image", "four views")
        if not pipe.unet.config.ip_dim and pipe.unet.config.condition == "frame":  # MVDream's input is a sentence
            task = "text-to-3d" if "lgm" in networks else "text-to-image"
        steps, guidance = pipe.config.default_steps, pipe.config.default_guidance
        how = f"views of {pipe.picture_size} pixels, by default {steps} denoising steps and guidance\n{guidance:g}"
    given = "".join(f"- {what}: {origin}\n" for what, origin in pipe.source.items())
    text = f"""---
library_name: diffusers
pipeline_tag: {task}
tags:
- image3d-nb
- {kind}
---

# {kind}

Makes {made}: {how}.

```python
import image3d_nb as i3d  # pip install image3d-nb

pipe = i3d.load_pipeline("FOLDER OR OWNER/NAME")
```

| component | class | parameters | type |
|---|---|---|---|
{rows}"""
    if custom_pipeline:
        text += """
diffusers' own loader runs it too, if image3d-nb is installed:

```python
from diffusers import DiffusionPipeline

name = "FOLDER OR OWNER/NAME"
pipe = DiffusionPipeline.from_pretrained(name, custom_pipeline=name, trust_remote_code=True)
```
"""
    made_from = f"\n## Made from\n\n{given}" if given else ""
    ask = "\n## Data, training and licence\n\nSay here what it was trained on, and who may use it.\n"
    return text + made_from + ask
