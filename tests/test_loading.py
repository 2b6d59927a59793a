"""Folders: written, read again by us and by diffusers, and refused where they are not whole."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from image3d_nb import generator, load_pipeline
from image3d_nb.errors import InputError, WeightsError
from image3d_nb.hub.weights import resolve
from image3d_nb.models.mv_unet import MultiViewUNetModel
from image3d_nb.pipelines.lgm import LGMFullPipeline
from image3d_nb.pipelines.loading import load_component, load_lgm, load_network
from image3d_nb.pipelines.mvdream import MVDreamPipeline

from .seeded import fill
from .small import small_tokenizer
from .test_parity import CONFIGS, mini_pipeline, synthetic_ball

NETWORKS = ("lgm", "unet", "vae", "text_encoder", "image_encoder")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every component of the published layout, small, in float32. Tests must not change it."""
    folder = tmp_path_factory.mktemp("whole")
    mini_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def weights_of(folder: Path) -> Path:
    return next(iter(folder.glob("*.safetensors")))


def test_every_weight_comes_from_the_file(whole: Path) -> None:
    """Nothing random is drawn on the way, all parameters are real, and the pipeline can be used at once."""
    before = torch.random.get_rng_state()
    pipe = load_pipeline(whole, dtype=torch.float32)
    assert torch.equal(torch.random.get_rng_state(), before)
    truth = mini_pipeline()
    for name in NETWORKS:
        network = getattr(pipe, name)
        assert same(network, getattr(truth, name)), name
        assert not network.training
        assert {tensor.device.type for tensor in (*network.parameters(), *network.buffers())} == {"cpu"}


def test_weights_of_the_same_type_are_mapped_not_copied(whole: Path) -> None:
    """Where the system lists a program's mapped files, LGM's is among them; weights of another type need no file."""
    file, maps = weights_of(whole / "lgm"), Path("/proc/self/maps")
    before = torch.random.get_rng_state()
    for dtype, mapped in ((torch.float32, True), (torch.float16, False)):
        network = load_lgm(whole / "lgm", dtype)
        assert torch.equal(network.conv.weight, load_file(file)["conv.weight"].to(dtype))
        if maps.is_file():
            assert (str(file) in maps.read_text()) is mapped
        del network
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_task_pages_loading_line_reads_the_published_layout(model: Path) -> None:
    """Its classes have no home in diffusers, and its LGM's configuration does not say the rotation."""
    index = json.loads((model / "model_index.json").read_text())
    index |= {"lgm": ["lgm", "LGM"], "unet": ["mv_unet", "MultiViewUNetModel"]}
    (model / "model_index.json").write_text(json.dumps(index))
    config = json.loads((model / "lgm" / "config.json").read_text())
    (model / "lgm" / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "rotation"}))
    with pytest.warns(UserWarning, match="runs no"), pytest.warns(UserWarning, match="rotation"):
        pipeline = LGMFullPipeline.from_pretrained(
            model, custom_pipeline="dylanebert/LGM-full", torch_dtype=torch.float16, trust_remote_code=True
        ).to("cpu")
    assert {getattr(pipeline, name).dtype for name in NETWORKS} == {torch.float16}
    assert pipeline.scheduler.config.steps_offset == 1
    assert pipeline.feature_extractor is not None


def test_the_names_in_saved_folders_are_frozen(tiny_pipe: LGMFullPipeline, tmp_path: Path) -> None:
    """The bundled folder was saved by an older version: today's has the same classes, modules and settings."""
    bundled = resolve("tiny")
    index = json.loads((bundled / "model_index.json").read_text())
    assert index["lgm"] == ["image3d_nb.models.lgm", "LGM"]
    assert index["unet"] == ["image3d_nb.models.mv_unet", "MultiViewUNetModel"]
    tiny_pipe.save_pretrained(tmp_path)
    for name in ("model_index.json", "lgm/config.json", "unet/config.json"):
        old, new = (json.loads((folder / name).read_text()) for folder in (bundled, tmp_path))
        for each in (old, new):
            del each["_diffusers_version"]
            each.pop("_name_or_path", None)
        assert new == old
    for module, name in (("pipelines.lgm", "LGMFullPipeline"), ("pipelines.mvdream", "MVDreamPipeline")):
        assert getattr(importlib.import_module(f"image3d_nb.{module}"), name).__module__ == f"image3d_nb.{module}"


def test_old_names_of_the_vaes_attention(model: Path) -> None:
    """Weights saved before diffusers 0.12 say query, key, value and proj_attn."""
    file = weights_of(model / "vae")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(file)
    renamed = {}
    for name, tensor in state.items():
        for today, then in old.items():
            name = name.replace(f"attentions.0.{today}.", f"attentions.0.{then}.")
        renamed[name] = tensor.clone()
    assert renamed.keys() != state.keys()
    save_file(renamed, file)
    assert same(load_network(AutoencoderKL, model / "vae"), mini_pipeline().vae)


def test_diffusers_own_loader_runs_a_folder_of_ours(tiny_pipe: LGMFullPipeline, tmp_path: Path) -> None:
    """The task page's line, word for word; and the object is the same."""
    folder = str(tmp_path / "mine")
    tiny_pipe.save_pretrained(folder, custom_pipeline=True)
    pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    picture = synthetic_ball(96).astype(np.float32) / 255
    theirs = pipeline("", picture, generator=generator(0)).gaussians
    ours = tiny_pipe("", picture, generator=generator(0)).gaussians
    torch.testing.assert_close(theirs.means, ours.means, atol=1e-6, rtol=0)
    torch.testing.assert_close(theirs.sh, ours.sh, atol=1e-6, rtol=0)
    assert same(load_pipeline(folder).lgm, tiny_pipe.lgm)  # ours reads it too, without its code


def test_diffusers_own_loader_reads_every_component(whole: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "mine")
    pipe = load_pipeline(whole, dtype=torch.float32)
    pipe.save_pretrained(folder, custom_pipeline=True)
    theirs = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
    for name in NETWORKS:
        assert same(getattr(theirs, name), getattr(pipe, name)), name
    index = json.loads((tmp_path / "mine" / "model_index.json").read_text())
    assert (index["lgm"], index["unet"]) == (["lgm", "LGM"], ["mv_unet", "MultiViewUNetModel"])
    for code in (tmp_path / "mine").rglob("*.py"):
        assert len(code.read_text().splitlines()) <= 6


def test_the_model_card(whole: Path, tmp_path: Path) -> None:
    assert not list(whole.rglob("*.py"))  # no code unless asked
    card = (whole / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: diffusers\npipeline_tag: image-to-3d\n")
    assert "| unet | MultiViewUNetModel |" in card
    assert "trust_remote_code" not in card
    pipe = load_pipeline(whole)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my own words")
    pipe.save_pretrained(tmp_path / "mine", custom_pipeline=True)
    assert (tmp_path / "mine" / "README.md").read_text() == "my own words"
    pipe.save_pretrained(tmp_path / "other", custom_pipeline=True)
    card = (tmp_path / "other" / "README.md").read_text()
    assert "trust_remote_code=True" in card
    assert f"- model: {whole}" in card


def test_saving_over_the_folder_it_came_from(model: Path) -> None:
    """Its weights are memory-mapped from the very files that are replaced."""
    pipe = load_pipeline(model, dtype=torch.float32)
    with torch.no_grad():
        pipe.lgm.conv.bias += 1
    changed, kept = pipe.lgm.conv.bias.clone(), pipe.unet.out[2].weight.clone()
    pipe.save_pretrained(model)
    assert torch.equal(pipe.unet.out[2].weight, kept)
    again = load_pipeline(model, dtype=torch.float32)
    assert torch.equal(again.lgm.conv.bias, changed)
    assert same(again.unet, pipe.unet)


def test_saving_in_parts_and_whole_again(model: Path) -> None:
    pipe = load_pipeline(model, dtype=torch.float32)
    pipe.save_pretrained(model, max_shard_size=2**20)
    assert len(list((model / "lgm").glob("*.safetensors"))) > 1
    assert same(load_pipeline(model, dtype=torch.float32).lgm, pipe.lgm)
    pipe.save_pretrained(model)
    assert [file.name for file in (model / "lgm").glob("*.safetensors*")] == ["diffusion_pytorch_model.safetensors"]
    assert not list(model.glob(".saving-*"))
    index = model / "lgm" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors"}}))
    with pytest.raises(WeightsError, match=r"1 missing: part-1\.safetensors"):
        load_pipeline(model)


def test_what_save_pretrained_does_not_do(tiny_pipe: LGMFullPipeline, tmp_path: Path) -> None:
    for wish in ({"push_to_hub": True}, {"safe_serialization": False}):
        with pytest.raises(InputError, match="hf upload"):
            tiny_pipe.save_pretrained(tmp_path / "x", **wish)
    assert not (tmp_path / "x").exists()


def test_a_pipeline_that_holds_no_weights_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='memory="low"'):
        load_pipeline("tiny", memory="low").save_pretrained(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_components_that_are_handed_in(whole: Path, tiny_pipe: LGMFullPipeline) -> None:
    pipe = LGMFullPipeline.from_pretrained(whole, lgm=tiny_pipe.lgm, vae=None)
    assert pipe.lgm is tiny_pipe.lgm
    assert pipe.vae is None
    assert pipe.source == {"model": str(whole), "lgm": "memory"}
    with pytest.raises(InputError, match=r"takes .*default_steps.*; got nonsense"):
        LGMFullPipeline.from_pretrained(whole, nonsense=3)
    assert same(load_pipeline(whole, lgm="tiny").lgm, tiny_pipe.lgm)
    with pytest.raises(InputError, match="got lgm"):
        MVDreamPipeline.from_pretrained(whole, lgm=tiny_pipe.lgm)


def truncate(folder: Path) -> None:
    file = weights_of(folder)
    file.write_bytes(file.read_bytes()[:-1000])


def cut_the_header(folder: Path) -> None:
    file = weights_of(folder)
    file.write_bytes(file.read_bytes()[:100])


Change: TypeAlias = Callable[[dict[str, torch.Tensor]], None]


def altered(change: Change) -> Callable[[Path], None]:
    """Damage that changes the tensors of a weight file."""

    def damage(folder: Path) -> None:
        state = {name: tensor.clone() for name, tensor in load_file(weights_of(folder)).items()}
        change(state)
        save_file(state, weights_of(folder))

    return damage


def rename(state: dict[str, torch.Tensor]) -> None:
    state["another.name"] = state.pop(min(state))


def reshape(state: dict[str, torch.Tensor]) -> None:
    name = next(name for name in sorted(state) if state[name].ndim == 2)
    state[name] = state[name][:-1].clone()


def put_nan(state: dict[str, torch.Tensor]) -> None:
    state[max(state)].view(-1)[-1] = float("nan")


def put_infinity(state: dict[str, torch.Tensor]) -> None:
    state[min(state)].view(-1)[0] = float("-inf")


def make_a_pickle(folder: Path) -> None:
    weights_of(folder).rename(folder / "pytorch_model.bin")


def remove_weights(folder: Path) -> None:
    weights_of(folder).unlink()


@pytest.mark.parametrize("component", NETWORKS)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "missing"),
        (remove_weights, "there are 0"),
        (make_a_pickle, "pickle"),
        (truncate, "safetensors"),
        (cut_the_header, "safetensors"),
        (altered(rename), "1 missing"),
        (altered(reshape), "of another shape|could not be read"),
        (altered(put_nan), "must be finite"),
        (altered(put_infinity), "must be finite"),
    ],
)
def test_damaged_components(whole: Path, tmp_path: Path, component: str, damage, words: str) -> None:
    """One error each, when the folder is loaded: it names the folder and the fault."""
    folder = Path(shutil.copytree(whole / component, tmp_path / component))
    damage(folder)
    class_name = json.loads((whole / "model_index.json").read_text())[component][1]
    with pytest.raises(WeightsError, match=words) as caught:
        load_component(folder, class_name, torch.float32)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_which_of_two_files(model: Path) -> None:
    """Beside the file of the usual name there may be variants; of two others it cannot be told."""
    file = weights_of(model / "lgm")
    shutil.copy(file, file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert same(load_pipeline(model, dtype=torch.float32).lgm, mini_pipeline().lgm)
    file.rename(file.with_name("other.safetensors"))
    with pytest.raises(WeightsError, match="there are 2"):
        load_pipeline(model)


def test_nothing_of_a_folder_is_run(model: Path) -> None:
    for place in ("pipeline.py", "lgm/lgm.py", "unet/mv_unet.py", "tokenizer.py", "scheduler/scheduler.py"):
        (model / place).write_text("raise SystemExit('code of the folder ran')")
    digest = hashlib.sha256(weights_of(model / "unet").read_bytes()).hexdigest()
    assert isinstance(load_pipeline(model), LGMFullPipeline)
    assert hashlib.sha256(weights_of(model / "unet").read_bytes()).hexdigest() == digest


def test_a_folder_for_text_alone(whole: Path, tmp_path: Path) -> None:
    """MVDream's layout: no LGM, no image encoder; with lgm= it is whole."""
    model = Path(shutil.copytree(whole, tmp_path / "text"))
    index = json.loads((model / "model_index.json").read_text())
    for name in ("lgm", "image_encoder", "feature_extractor"):
        del index[name]
    (model / "model_index.json").write_text(json.dumps(index))
    views = load_pipeline(model)
    assert type(views) is MVDreamPipeline
    assert views.image_encoder is None
    assert isinstance(load_pipeline(model, lgm=whole), LGMFullPipeline)
    with pytest.raises(WeightsError, match="pass lgm='ashawkey/LGM'"):
        LGMFullPipeline.from_pretrained(model)


def test_a_sentence_becomes_an_object(whole: Path, tmp_path: Path) -> None:
    """MVDream's layout with LGM, and a tokenizer built here: other words make another object."""
    model = Path(shutil.copytree(whole, tmp_path / "text"))
    index = json.loads((model / "model_index.json").read_text())
    for name in ("lgm", "image_encoder", "feature_extractor"):
        del index[name]
    index["tokenizer"] = ["transformers", "CLIPTokenizer"]
    (model / "model_index.json").write_text(json.dumps(index))
    small_tokenizer().save_pretrained(model / "tokenizer")
    config = CONFIGS["MINI"] | {"image_size": mini_pipeline().unet.config.image_size, "ip_dim": 0, "condition": "frame"}
    fill(MultiViewUNetModel(**config)).save_pretrained(model / "unet")
    pipe = load_pipeline(model, lgm=whole, dtype=torch.float32)
    assert pipe.tokenizer is not None
    pipe.set_progress_bar_config(disable=True)

    def made(text: str) -> torch.Tensor:
        return pipe(text, generator=generator(0), num_inference_steps=2).gaussians.means

    red = made("a red mug")
    assert torch.equal(red, made("a red mug"))
    assert not torch.equal(red, made("a blue hat"))
    assert pipe("a red mug", generator=generator(0), num_inference_steps=1).input is None
    with pytest.raises(InputError, match="text only"):
        pipe(image=Image.new("RGB", (64, 64), "red"))
