"""The public names: typed for checkers, completed by editors, light to import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jedi
import pytest

import image3d_nb

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    "torch", "numpy", "PIL", "diffusers", "transformers", "numba", "scipy", "skimage", "trimesh", "IPython",
    "ipywidgets", "matplotlib",
)  # fmt: skip

SCRIPT = """
import image3d_nb as i3d

image = i3d.load_image(i3d.sample("mug"))
pipe = i3d.load_pipeline()
mesh = i3d.to_mesh(pipe(image).gaussians)
cameras = i3d.orbit_cameras()
reveal_type(image)
reveal_type(pipe)
reveal_type(pipe(image).gaussians)
reveal_type(mesh)
reveal_type(cameras)
reveal_type(i3d.render(mesh, cameras))
reveal_type(i3d.render(mesh, cameras, return_depth=True))
reveal_type(i3d.metrics.psnr)
i3d.load_pipelin()
"""
REVEALED = (
    "PIL.Image.Image", "image3d_nb.pipelines.lgm.LGMFullPipeline",
    "image3d_nb.gaussians.Gaussians", "image3d_nb.mesh.Mesh", "image3d_nb.cameras.Cameras",
    "torch._tensor.Tensor", "tuple[torch._tensor.Tensor, torch._tensor.Tensor]", "def (",
)  # fmt: skip


def test_importing_the_package_loads_nothing_large() -> None:
    code = f"import sys, image3d_nb; image3d_nb.__all__; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    for name in image3d_nb.__all__:
        assert getattr(image3d_nb, name) is not None
    assert set(image3d_nb.__all__) <= set(dir(image3d_nb))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = image3d_nb.no_such_name  # type: ignore[attr-defined]


def test_mypy_types_a_users_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    # from the checkout with its settings: the cache of `make lint` makes this seconds instead of minutes
    mypy = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-color-output", str(script)]
    # in a worker that ran notebooks before, FORCE_COLOR is set
    plain = {name: value for name, value in os.environ.items() if "COLOR" not in name}
    run = subprocess.run(mypy, cwd=ROOT, env=plain, capture_output=True, text=True, check=False)
    revealed = re.findall(r'Revealed type is "(.*)"', run.stdout)
    assert len(revealed) == len(REVEALED), run.stdout + run.stderr
    for found, expected in zip(revealed, REVEALED, strict=True):
        assert expected in found
    errors = [line for line in run.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, errors
    assert "load_pipelin" in errors[0]


@pytest.mark.parametrize(("typed", "name"), [("i3d.load_pi", "load_pipeline"), ("i3d.metrics.ps", "psnr")])
def test_jedi_completes_the_public_names(typed: str, name: str) -> None:
    completions = jedi.Script(f"import image3d_nb as i3d\n{typed}").complete(2, len(typed))
    assert [completion.name for completion in completions] == [name]


def test_old_module_names_still_work_for_one_release() -> None:
    from image3d_nb import image, weights

    with pytest.warns(DeprecationWarning, match=r"images\.load_image"):
        assert image.load_image is image3d_nb.load_image
    with pytest.warns(DeprecationWarning, match=r"hub\.weights\.KNOWN"):
        assert "tiny" in weights.KNOWN
