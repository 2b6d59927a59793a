"""TripoSR and Splatter Image from their published files: pickles that are read once, without running what they name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from image3d_nb import GenerateSettings, generate_one, list_models, load_image, load_pipeline, sample
from image3d_nb.errors import InputError, WeightsError
from image3d_nb.hub import table as models
from image3d_nb.hub.table import estimated_seconds
from image3d_nb.hub.weights import KNOWN, is_single_image, resolve
from image3d_nb.pipelines import checkpoints
from image3d_nb.pipelines.splatter_image import SplatterImagePipeline
from image3d_nb.pipelines.triposr import TripoSRPipeline

from .hub import Hub, Repository
from .mini_models import mini_splatter, mini_triposr
from .test_weights import hub  # noqa: F401 -- a fixture

TRIPOSR, SPLATTER = "stabilityai/TripoSR", "szymanowiczs/splatter-image-v1"


def published(kind: str) -> dict[str, torch.Tensor]:
    """What the published file of this kind holds: also what the network does not need."""
    if kind == "triposr":
        pooler = {f"image_tokenizer.model.pooler.dense.{name}": torch.ones(3) for name in ("weight", "bias")}
        return mini_triposr().state_dict() | pooler
    buffers = {name: torch.ones(1, 3, 3) for name in ("ray_dirs", "sh_to_v_transform", "v_to_sh_transform")}
    return mini_splatter().state_dict() | buffers


def write(folder: Path, kind: str, state: dict[str, Any] | None = None) -> Path:
    """The published layout at mini size; ``config.json`` stands in for the full size of the defaults."""
    state = published(kind) if state is None else state
    network = mini_triposr() if kind == "triposr" else mini_splatter()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**network.config, "_class_name": type(network).__name__}))
    file = folder / ("model.ckpt" if kind == "triposr" else "model_latest.pth")
    training = {"iteration": 7, "best_PSNR": np.float64(20.5), "optimizer_state_dict": {"state": torch.ones(9)}}
    torch.save(state if kind == "triposr" else {"model_state_dict": state, **training}, file)
    return file


@pytest.fixture(params=["triposr", "splatter"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(kind: str, tmp_path: Path) -> Path:
    return write(tmp_path / "model", kind)


def load(name: Path | str, **options: Any) -> Any:
    """Load a file that this package cannot know, which it says."""
    with pytest.warns(UserWarning, match="sha256"):
        return load_pipeline(name, **options)


def test_a_checkpoint_is_read_once_and_kept_as_safetensors(kind: str, file: Path, monkeypatch: Any) -> None:
    before = torch.random.get_rng_state()
    pipe = load(file)
    assert torch.equal(torch.random.get_rng_state(), before)  # nothing was drawn at random
    assert isinstance(pipe, TripoSRPipeline if kind == "triposr" else SplatterImagePipeline)
    truth = mini_triposr() if kind == "triposr" else mini_splatter()
    for name, tensor in truth.state_dict().items():
        assert torch.equal(pipe.network.state_dict()[name], tensor), name
    kept = file.with_name(f"{file.name}.safetensors")
    with safe_open(kept, "pt") as tensors:
        assert set(tensors.keys()) == set(truth.state_dict())
        assert tensors.metadata()["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(torch, "load", None)  # from now on nothing is unpickled
    load(file)
    load(file.parent)
    assert load(str(file)).source == {"model": str(file)}
    monkeypatch.undo()
    os.utime(file, (1, 1))  # another file: it is read again
    write(file.parent, kind, {name: tensor + 1 for name, tensor in published(kind).items()})
    changed = load(file)
    some = next(iter(truth.state_dict()))
    assert torch.equal(changed.network.state_dict()[some], truth.state_dict()[some] + 1)


def test_weights_are_mapped_not_copied(file: Path) -> None:
    load(file)
    with pytest.warns(UserWarning, match="sha256"):
        network = checkpoints.load_checkpoint(file)
    maps = Path("/proc/self/maps").read_text()
    pointer = next(network.parameters()).data_ptr()
    spans = [line.split()[0].split("-") for line in maps.splitlines() if line.endswith(".safetensors")]
    assert any(int(low, 16) <= pointer < int(high, 16) for low, high in spans)


def test_a_known_hash_is_silent(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(KNOWN, TRIPOSR, replace(KNOWN[TRIPOSR], sha256={"model.ckpt": digest}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        load_pipeline(file)


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trap),)


def test_code_in_a_pickle_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    trap = tmp_path / "code ran"
    file = write(tmp_path / "model", kind, published(kind) | {"extra": Code(trap)})
    with pytest.raises(WeightsError, match="mkdir"):
        load_pipeline(file)
    assert not trap.exists()
    assert not list(file.parent.glob("*.safetensors"))


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_truncated(file: Path, part: float) -> None:
    file.write_bytes(file.read_bytes()[: int(part * file.stat().st_size)])
    with pytest.raises(WeightsError, match="complete"):
        load_pipeline(file)
    assert [each.name for each in file.parent.iterdir() if "safetensors" in each.name] == []


def test_other_keys_are_named(kind: str, tmp_path: Path) -> None:
    state = published(kind)
    last = [name for name in state if name.endswith(("decoder.layers.18.bias", "encoder.dec.32x32_aux_norm.bias"))]
    name = last[0] if last else next(name for name in state if name.endswith("proj_out.bias"))
    renamed = {("strange" if key == name else key): tensor for key, tensor in state.items()}
    with pytest.raises(WeightsError, match="strange") as error:
        load_pipeline(write(tmp_path / "a", kind, renamed))
    assert name in str(error.value)
    with pytest.raises(WeightsError, match="other"):
        load_pipeline(write(tmp_path / "b", kind, {"other.weight": torch.zeros(1)}))
    with pytest.raises(WeightsError, match="shape"):
        load_pipeline(write(tmp_path / "c", kind, state | {name: torch.zeros(77)}))
    with pytest.raises(WeightsError, match="finite"), pytest.warns(UserWarning, match="sha256"):
        load_pipeline(write(tmp_path / "d", kind, state | {name: state[name] * torch.nan}))
    with pytest.raises(WeightsError, match="tensors"):
        load_pipeline(write(tmp_path / "e", "triposr", {"iteration": 3}))


def test_a_full_disk_and_a_folder_that_cannot_be_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", full)
        with pytest.raises(WeightsError, match="full"):
            load_pipeline(file)
    assert sorted(each.name for each in file.parent.iterdir()) == ["config.json", file.name]
    load(file)  # once there is room


def test_names_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="exist"):
        load_pipeline(tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match="index"):
        load_pipeline(tmp_path)
    (tmp_path / "a.ckpt").touch()
    (tmp_path / "b.ckpt").touch()
    with pytest.raises(WeightsError, match="one"):
        load_pipeline(tmp_path)


def test_co3d_models_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "splatter").rename(tmp_path / "model_hydrants.pth")
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match="CO3D"):
        load_pipeline(file)


# ------------------------------------------------------------ the hub


@pytest.fixture
def repository(hub: Hub, kind: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:  # noqa: F811
    name = TRIPOSR if kind == "triposr" else SPLATTER
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    known = {file.name: digest} if kind == "triposr" else {}
    monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], sha256=known))
    hub.repositories[name] = Repository()
    files = {file.name: content, "config.json": (file.parent / "config.json").read_bytes(), "config.yaml": b"a: 1"}
    hub.repositories[name].add(files | {"code.py": b"raise SystemExit"})
    return hub.repositories[name]


def load_known(kind: str, **options: Any) -> Any:
    if kind == "triposr":
        return load_pipeline(TRIPOSR, **options)
    with pytest.warns(UserWarning, match="sha256"):  # the table has none
        return load_pipeline(SPLATTER, **options)


def test_a_repository_is_pinned_and_hashed(kind: str, hub: Hub, repository: Repository, file: Path) -> None:  # noqa: F811
    commit = repository.commit("main")
    name = TRIPOSR if kind == "triposr" else SPLATTER
    pipe = load_known(kind)
    assert pipe.source == {"model": f"{name}/{file.name}@{commit}"}
    assert hub.files_asked() == {file.name, "config.json"}
    asked = len(hub.asked)
    load_known(kind, revision=commit)
    assert "/resolve/" not in "".join(path for _, path, _ in hub.asked[asked:])
    with pytest.raises(WeightsError, match="revision"):
        load_pipeline(name, revision="v9")


def test_a_broken_download_goes_on(kind: str, hub: Hub, repository: Repository, file: Path) -> None:  # noqa: F811
    hub.break_after, hub.breaks_left = file.stat().st_size // 2, 1
    load_known(kind)
    assert hub.sent <= 1.5 * file.stat().st_size


def test_a_hub_that_does_not_give_it(
    kind: str,
    hub: Hub,  # noqa: F811
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = TRIPOSR if kind == "triposr" else SPLATTER
    repository.gated = True
    with pytest.raises(WeightsError, match="gated"):
        load_pipeline(name)
    repository.gated = False
    if kind == "triposr":
        monkeypatch.setitem(KNOWN, TRIPOSR, replace(KNOWN[TRIPOSR], sha256={"model.ckpt": "0" * 64}))
        with pytest.raises(WeightsError, match="0000"):
            load_pipeline(name)
    hub.repositories.clear()
    with pytest.raises(WeightsError, match="hub"):
        load_pipeline(name, revision="other")


# ------------------------------------------------------------ the table, and objects


def test_the_table_of_models() -> None:
    table = list_models()
    assert [model.name for model in table] == list(KNOWN)
    rows = {model.name: model for model in table}
    assert (rows[TRIPOSR].parameters, rows[TRIPOSR].download) == (419_275_628, 1_677_246_742)
    assert (rows[SPLATTER].parameters, rows[SPLATTER].sha256) == (56_378_736, False)
    assert all(model.seconds > 0 and model.memory > 0 and model.licence for model in table)
    for name in KNOWN:
        assert name in repr(table)
    assert estimated_seconds(TRIPOSR, 100.0) == pytest.approx(2 * estimated_seconds(TRIPOSR, 200.0))
    assert is_single_image(TRIPOSR)
    assert not is_single_image("tiny")


def test_the_names_of_models_from_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.ckpt").touch()
    for model in ("~/mine", "~/mine/model.ckpt", str(tmp_path / "model.safetensors")):
        assert is_single_image(model)
    (tmp_path / "mine" / "model_index.json").write_text(json.dumps({"_class_name": "LGMFullPipeline"}))
    assert not is_single_image("~/mine")


@pytest.mark.parametrize("seconds", [12.0, 345.0])
def test_a_measured_time_is_not_shown_as_an_estimate(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_SECONDS", {TRIPOSR: seconds})
    shown = {line.split()[0]: line for line in repr(list_models()).splitlines()}
    assert f"  {seconds:.0f}  " in shown[TRIPOSR]
    assert "~" in shown[SPLATTER]


@pytest.mark.filterwarnings("ignore:.*sha256")
def test_objects_of_a_checkpoint(kind: str, file: Path, tmp_path: Path) -> None:
    settings = GenerateSettings(model=str(file), formats=("ply", "glb", "stl"))
    if kind == "triposr":  # noise, of which a smaller set is made by the test of the pipeline
        with pytest.raises(InputError, match="steps"):
            generate_one(sample("mug"), tmp_path / "out", replace(settings, steps=3))
    for name, value in (("candidates", 2), ("elevation", 10.0), ("guidance", 2.0)):
        with pytest.raises(InputError, match=name):
            generate_one(sample("mug"), tmp_path / "out", replace(settings, **{name: value}))
    if kind == "splatter":
        steps: list[tuple[str, int, int]] = []
        record = generate_one(
            sample("mug"), tmp_path / "out", replace(settings, formats=("ply",)), lambda *step: steps.append(step)
        )
        assert (record["native"], record["steps"], record["views"]) == ("gaussians", None, "renders")
        assert record["gaussians"] == 32 * 32
        assert {"mug.ply", "input.png", "views.png"} == set(record["files"])
        assert load_image(tmp_path / "out" / "views.png").size[0] > 4 * 200
        assert resolve(str(file)) == file
        assert {stage for stage, _, _ in steps} == {"load", "generate", "files"}
