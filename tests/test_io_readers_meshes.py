"""Programs of others read our mesh files: Khronos' validator, trimesh, assimp, admesh, splat-transform."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from image3d_nb import io as io3d
from image3d_nb.gaussians import Gaussians
from image3d_nb.io.gltf import formats as gltf
from image3d_nb.mesh import Mesh

from .mesh_samples import ball, plain, textured
from .solids import volume
from .test_io_ply import example

READERS = Path(__file__).parent / "readers"
SAMPLES = {"vertex": ball(), "texture": textured(ball()), "plain": plain(ball())}
VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs'), path = require('path');
const files = process.argv.slice(1);
Promise.all(files.map(file => validator.validateBytes(new Uint8Array(fs.readFileSync(file)), {
  uri: path.basename(file), maxIssues: 1000,
  externalResourceFunction: async uri =>
    new Uint8Array(fs.readFileSync(path.join(path.dirname(file), decodeURIComponent(uri)))),
}))).then(reports => console.log(JSON.stringify(reports)));
"""


def program(name: str) -> str:
    """Where it is. The tests fail without it: a file that nobody else has read is not tested."""
    found = shutil.which(name)
    assert found, f"{name} must be on the PATH (`make test` says how to install it)"
    return found


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, timeout=120, check=False)
    text = done.stdout.decode(errors="replace")  # admesh prints bytes of the header
    assert done.returncode == 0, text[-2000:] + done.stderr.decode(errors="replace")[-2000:]
    return text


def reports(*files: Path) -> list[dict[str, Any]]:
    """What Khronos' validator says of each file."""
    return json.loads(run(program("node"), "-e", VALIDATE, *files, cwd=READERS))


def messages(report: dict[str, Any]) -> set[str]:
    return {message["code"] for message in report["issues"]["messages"]}


def test_the_validator_finds_nothing_in_meshes(tmp_path: Path) -> None:
    files = []
    for kind, mesh in SAMPLES.items():
        files += [tmp_path / f"{kind} 1.glb", tmp_path / f"{kind} 2.gltf"]
        io3d.save(mesh, files[-2], strict=True)
        io3d.save(mesh, files[-1], strict=True)
    holey = Mesh(np.concatenate([np.eye(3), np.zeros((2, 3))]), np.array([[0, 1, 2], [3, 3, 4]]), uvs=np.zeros((5, 2)))
    files.append(tmp_path / "no area.glb")
    io3d.save(holey, files[-1])
    for file, report in zip(files, reports(*files), strict=True):
        issues = report["issues"]
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), (file.name, issues["messages"])
        # a triangle without an area, and texture coordinates without a texture, are worth a remark and nothing more
        allowed = {"UNUSED_OBJECT", "ACCESSOR_INDEX_TRIANGLE_DEGENERATE"} if file.name == "no area.glb" else set()
        # side lengths of our sample's texture are no powers of two
        allowed |= {"IMAGE_NPOT_DIMENSIONS"} if file.name.startswith("texture") else set()
        assert messages(report) <= allowed, (file.name, issues["messages"])
        assert report["info"]["totalTriangleCount"] in (2, len(ball().faces))


def test_the_validator_only_does_not_know_the_splats_extension(tmp_path: Path) -> None:
    files = []
    for degree in range(4):
        for suffix in (".glb", ".gltf"):
            files.append(tmp_path / f"{degree}{suffix}")
            io3d.save(example(50, degree), files[-1])
    for file, report in zip(files, reports(*files), strict=True):
        codes = messages(report)
        assert codes == {"UNSUPPORTED_EXTENSION", "MESH_PRIMITIVE_INVALID_ATTRIBUTE"}, (file.name, codes)
        attributes = [m for m in report["issues"]["messages"] if m["code"] == "MESH_PRIMITIVE_INVALID_ATTRIBUTE"]
        assert all("attributes/KHR_gaussian_splatting:" in m["pointer"] for m in attributes)


def test_the_validator_would_notice(tmp_path: Path) -> None:
    files = gltf.write(ball(), "a.gltf")
    document = json.loads(files["a.gltf"])
    document["accessors"][0]["max"][0] += 0.1
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    (tmp_path / "a.bin").write_bytes(files["a.bin"])
    (report,) = reports(tmp_path / "a.gltf")
    assert report["issues"]["numErrors"] > 0


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj", ".stl", ".ply"])
@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.filterwarnings("ignore:.*STL cannot hold:UserWarning")
def test_trimesh_finds_the_same_closed_surface(tmp_path: Path, suffix: str, kind: str) -> None:
    mesh = SAMPLES[kind]
    io3d.save(mesh, tmp_path / f"a{suffix}")
    loaded = trimesh.load(tmp_path / f"a{suffix}", force="mesh")
    assert isinstance(loaded, trimesh.Trimesh)
    if kind == "texture" and suffix != ".stl":
        assert loaded.visual.kind == "texture"
        material = loaded.visual.material
        image = material.baseColorTexture if hasattr(material, "baseColorTexture") else material.image
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), mesh.texture)
        same = np.abs(np.sort(loaded.visual.uv, axis=0) - np.sort(mesh.uvs, axis=0))
        assert same.max() < 1e-6
    if kind == "vertex" and suffix in (".obj", ".ply"):  # of a .glb it takes either a material or colours
        colors = loaded.vertex_attributes["color"] if suffix == ".obj" else loaded.visual.vertex_colors / 255
        want = mesh.vertex_colors[np.lexsort(mesh.vertices.T)]
        np.testing.assert_allclose(colors[np.lexsort(loaded.vertices.T)][:, :3], want, atol=0.51 / 255)
    loaded.merge_vertices(merge_tex=True, merge_norm=True)
    assert loaded.is_watertight
    assert loaded.is_winding_consistent
    assert loaded.volume == pytest.approx(volume(mesh), rel=1e-6)
    assert len(loaded.vertices) == len(ball().vertices)
    up = [0, 2, 1] if suffix == ".stl" else [0, 1, 2]  # z up there
    np.testing.assert_allclose(loaded.extents, np.ptp(mesh.vertices, axis=0)[up], rtol=1e-6)


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj", ".stl", ".ply"])
@pytest.mark.filterwarnings("ignore:.*STL cannot hold:UserWarning")
def test_assimp_finds_all_triangles(tmp_path: Path, suffix: str) -> None:
    name = f"mug{suffix}" if suffix == ".gltf" else f"my mug{suffix}"  # it takes %20 in a uri for three characters
    io3d.save(textured(ball()), tmp_path / name)
    text = run(program("assimp"), "info", name, cwd=tmp_path)
    assert re.search(rf"^Faces:\s+{len(ball().faces)}$", text, re.MULTILINE), text
    assert re.search(r"^Primitive Types:\s*triangles$", text, re.MULTILINE), text
    if suffix in (".glb", ".gltf", ".obj"):
        texture = {".glb": "*0", ".gltf": "mug_texture.png", ".obj": "my mug_texture.png"}[suffix]
        assert texture in text.partition("Texture Refs")[2], text


def test_admesh_finds_one_closed_part(tmp_path: Path) -> None:
    io3d.save(plain(ball()), tmp_path / "a.stl", scale_mm=80)
    text = run(program("admesh"), "a.stl", cwd=tmp_path)
    counts = {name: int(n) for name, n in re.findall(r"^\s*(.*?)\s*:\s+(\d+)\b", text, re.MULTILINE)}
    assert counts["Number of facets"] == len(ball().faces)
    assert counts["Number of parts"] == 1
    assert counts["Total disconnected facets"] == 0
    for name in (
        "Degenerate facets",
        "Edges fixed",
        "Facets removed",
        "Facets reversed",
        "Backwards edges",
        "Normals fixed",
    ):
        assert counts[name] == 0, text
    assert float(re.search(r"Volume\s*:\s*([\d.]+)", text)[1]) == pytest.approx(volume(ball()) * 100**3, rel=1e-5)  # type: ignore[index]


def same_shape(got: Gaussians, want: Gaussians, mirror: torch.Tensor) -> None:
    """Positions, covariances, opacities and colours, in the order of the file."""
    torch.testing.assert_close(got.means, want.means @ mirror, rtol=0, atol=1e-5)
    torch.testing.assert_close(got.covariances(), mirror @ want.covariances() @ mirror, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.opacities, want.opacities, rtol=0, atol=1e-5)
    torch.testing.assert_close(got.sh[:, 0], want.sh[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("degree", [0, 3])
def test_we_read_the_glb_that_splat_transform_writes(tmp_path: Path, degree: int) -> None:
    gaussians = example(60, degree)
    io3d.save(gaussians, tmp_path / "a.ply")
    cli = READERS / "node_modules" / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
    run(program("node"), cli, "-w", tmp_path / "a.ply", tmp_path / "b.glb")
    back = io3d.load(tmp_path / "b.glb")
    assert isinstance(back, Gaussians)
    assert back.sh_degree == degree
    # it takes a .ply for 3DGS' y down and turns it by 180 degrees about z; ours is turned about x
    order = torch.cdist(gaussians.means @ torch.diag(torch.tensor([-1.0, 1, -1])), back.means).argmin(1)
    same_shape(back[order], gaussians, torch.diag(torch.tensor([-1.0, 1, -1])))
