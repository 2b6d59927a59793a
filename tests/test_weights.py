"""From a model's name to its files, with a hub on this machine: what is fetched, checked, and can go wrong."""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers import DDIMScheduler
from huggingface_hub import constants, file_download
from safetensors.torch import save_file

from image3d_nb import GenerateSettings, generate_one, load_pipeline, sample
from image3d_nb.errors import InputError, WeightsError
from image3d_nb.hub import weights
from image3d_nb.hub.download import PRIVATE_NAMES
from image3d_nb.hub.weights import KNOWN, commit_of, resolve, resolve_lgm
from image3d_nb.models.lgm import LGM
from image3d_nb.models.mv_unet import MultiViewUNetModel
from image3d_nb.pipelines.lgm import LGMFullPipeline
from image3d_nb.pipelines.mvdream import MVDreamPipeline

from .hub import Hub, Repository, files_of, running_hub
from .seeded import fill
from .test_parity import CONFIGS, DDIM

FULL, HALF, LGM_HALF, BARE = "dylanebert/LGM-full", "dylanebert/multi-view-diffusion", "dylanebert/LGM", "ashawkey/LGM"
TINY = weights.data_dir() / "models" / "tiny"


def test_a_folder_called_tiny_is_not_taken_for_the_bundled_model(
    tiny_pipe: LGMFullPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_pipe.save_pretrained("tiny")
    with pytest.warns(UserWarning, match="bundled"):
        load_pipeline("tiny")


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    (tmp_path / "mine").symlink_to(TINY)
    assert resolve("~/mine") == tmp_path / "mine"
    assert resolve_lgm("~/mine") == tmp_path / "mine" / "lgm"


def small_lgm() -> LGM:
    config = {
        "down_channels": [32], "down_attention": [False], "mid_attention": False, "up_channels": [32],
        "up_attention": [False], "layers_per_block": 1, "input_size": 16, "splat_size": 16,
    }  # fmt: skip
    return fill(LGM(**config)).half()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a repository like LGM-full's, small: its class names, no rotation, and what must not be fetched."""
    folder = tmp_path_factory.mktemp("published")
    unet = fill(MultiViewUNetModel(**CONFIGS["MINI"] | {"num_res_blocks": 1, "channel_mult": [1]}, ip_dim=0)).half()
    LGMFullPipeline(lgm=small_lgm(), unet=unet, scheduler=DDIMScheduler(**DDIM)).save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"lgm": ["lgm", "LGM"], "unet": ["mv_unet", "MultiViewUNetModel"], "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index))
    config = json.loads((folder / "lgm" / "config.json").read_text())
    del config["rotation"]
    (folder / "lgm" / "config.json").write_text(json.dumps(config))
    (folder / "notes.txt").write_text("hello")
    for name in ("pipeline.py", "lgm/lgm.py", "unet/mv_unet.py", "unet/diffusion_pytorch_model.bin"):
        (folder / name).write_text("raise SystemExit('code of a repository ran')")
    return files_of(folder)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The hub that the client asks, with an empty cache."""
    with running_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", server.address)  # made when it was imported
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(file_download.time, "sleep", _at_once)  # the client waits between its tries
        yield server


@pytest.fixture
def full(hub: Hub, published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Repository:
    """LGM-full on that hub; the table holds what its files are."""
    digests = {
        name.split("/")[0]: hashlib.sha256(content).hexdigest()
        for name, content in published.items()
        if name.endswith(".safetensors")
    }
    monkeypatch.setitem(KNOWN, FULL, replace(KNOWN[FULL], sha256=digests))
    hub.repositories[FULL] = Repository()
    hub.repositories[FULL].add(published)
    return hub.repositories[FULL]


def _at_once(_seconds: float) -> None:
    """For a client that waits between its tries."""


def _interrupt(_seconds: float) -> None:
    raise KeyboardInterrupt


def part_of(published: dict[str, bytes], *folders: str) -> dict[str, bytes]:
    """A repository with some of the components."""
    index = json.loads(published["model_index.json"])
    kept = {name: value for name, value in index.items() if name in folders or not isinstance(value, list)}
    files = {name: content for name, content in published.items() if name.split("/")[0] in folders}
    return files | {"model_index.json": json.dumps(kept).encode()}


def test_a_repository_becomes_a_pipeline(hub: Hub, full: Repository, published: dict[str, bytes]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a known repository: nothing to tell
        pipe = load_pipeline(FULL)
    assert isinstance(pipe, LGMFullPipeline)
    assert pipe.lgm.config.rotation == "identity"
    commit = full.commit("main")
    assert pipe.source == {"model": f"{FULL}@{commit}", "lgm": f"{FULL}@{commit}"}
    assert torch.equal(pipe.lgm.conv.weight, small_lgm().conv.weight.float())
    assert hub.files_asked() == {name for name in published if name.endswith((".json", ".txt", ".safetensors"))}
    assert commit_of(resolve(FULL)) == commit


def test_a_revision_pins_the_commit(hub: Hub, full: Repository, published: dict[str, bytes]) -> None:
    old = full.commit("main")
    scheduler = json.loads(published["scheduler/scheduler_config.json"]) | {"steps_offset": 7}
    new = full.add(published | {"scheduler/scheduler_config.json": json.dumps(scheduler).encode()})
    pinned, latest = load_pipeline(FULL, revision=old), load_pipeline(FULL)
    assert (pinned.scheduler.config.steps_offset, latest.scheduler.config.steps_offset) == (1, 7)
    assert [pipe.source["model"] for pipe in (pinned, latest)] == [f"{FULL}@{old}", f"{FULL}@{new}"]
    with pytest.raises(WeightsError, match="no revision 'v9'"):
        load_pipeline(FULL, revision="v9")


def test_an_unknown_repository_works_with_a_notice(hub: Hub, published: dict[str, bytes]) -> None:
    hub.repositories["somebody/else"] = Repository()
    hub.repositories["somebody/else"].add(published)
    with pytest.warns(UserWarning, match="rotation"), pytest.warns(UserWarning, match="unknown repository"):
        pipe = load_pipeline("somebody/else")
    assert pipe.lgm.config.rotation == "normalized"


def test_once_cached_it_needs_no_hub(hub: Hub, full: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_pipeline(FULL)
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load_pipeline(FULL)
    assert torch.equal(again.lgm.conv.weight, before.lgm.conv.weight)
    assert again.source == before.source
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    full.error = (503, "")  # or a hub that is down
    assert load_pipeline(FULL).source == before.source
    assert not any("/resolve/" in path for _, path, _ in hub.asked[asked:])


def test_weights_are_hashed_once(hub: Hub, full: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve(FULL)
    read: list[str] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda stream, kind: read.append(stream.name) or digest(stream, kind))
    assert resolve(FULL) == folder
    assert read == []
    file = folder / "lgm" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # one bit; the size stays
    file.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_pipeline(FULL)
    assert len(read) == 1
    for part in (file, KNOWN[FULL].sha256["lgm"], hashlib.sha256(content).hexdigest(), "Delete", file.resolve()):
        assert str(part) in str(caught.value)
    file.resolve().unlink()
    assert load_pipeline(FULL).source  # what the message said to do helps


def test_a_damaged_download_is_thrown_away(hub: Hub, full: Repository, tmp_path: Path) -> None:
    full.announced["lgm/diffusion_pytorch_model.safetensors"] = "0" * 64
    with pytest.raises(WeightsError, match="0000"):
        load_pipeline(FULL)
    assert not list(tmp_path.rglob("*.part"))


def test_a_broken_download_goes_on(
    hub: Hub, full: Repository, published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut connection is taken up again within the call; after Ctrl-C, or a hub that stays away, by the next call."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    hub.break_after, hub.breaks_left = 20 * 1024, 1
    monkeypatch.setattr(file_download.time, "sleep", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_pipeline(FULL)
    monkeypatch.setattr(file_download.time, "sleep", _at_once)
    hub.break_after, hub.breaks_left = 0, 100
    with pytest.raises(WeightsError, match="broke off"):
        load_pipeline(FULL)
    hub.break_after, hub.breaks_left = 30 * 1024, 1
    pipe = load_pipeline(FULL)
    assert torch.equal(pipe.lgm.conv.weight, small_lgm().conv.weight.float())
    ranges = [part for _, path, part in hub.asked if path.endswith(".safetensors") and part]
    assert ranges[-2:] == ["bytes=20480-", "bytes=51200-"]
    assert hub.sent == sum(len(content) for name, content in published.items() if name.endswith(".safetensors"))


def test_gated(hub: Hub, full: Repository) -> None:
    full.gated = True
    with pytest.raises(WeightsError, match=r"gated.*hf auth"):
        load_pipeline(FULL)


def test_missing(hub: Hub) -> None:
    with (
        pytest.warns(UserWarning, match="unknown repository"),
        pytest.raises(WeightsError, match="private"),
    ):
        load_pipeline("nobody/nothing")


def test_a_hub_with_a_fault(hub: Hub, full: Repository) -> None:
    full.error = (500, "")
    with pytest.raises(WeightsError, match="500"):
        load_pipeline(FULL)


def test_moved(hub: Hub, full: Repository) -> None:
    hub.repositories["ashawkey/imagedream-ipmv-diffusers"] = Repository(moved_to=FULL)
    with pytest.raises(WeightsError, match=f"has moved to '{FULL}'"):
        load_pipeline("ashawkey/imagedream-ipmv-diffusers")


def test_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.server_close()
    with pytest.raises(WeightsError, match="network"):
        load_pipeline(FULL)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        load_pipeline(FULL)


def test_a_half_fetched_model_offline(hub: Hub, full: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve(FULL)
    (folder / "lgm" / "diffusion_pytorch_model.safetensors").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        load_pipeline(FULL)


def test_no_room(hub: Hub, full: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen before the first byte; and where something else fills the disk meanwhile, when it is full."""
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=1000))
    with pytest.raises(WeightsError, match=r"0\.0 GB.*HF_HOME"):
        load_pipeline(FULL)
    assert hub.sent == 0
    monkeypatch.setattr(shutil, "disk_usage", usage)

    def full_disk(*_arguments: object, **_keywords: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_download, "http_get", full_disk)
    with pytest.raises(WeightsError, match=r"full.*HF_HOME"):
        load_pipeline(FULL)


def test_the_two_halves(hub: Hub, published: dict[str, bytes]) -> None:
    hub.repositories |= {HALF: Repository(), LGM_HALF: Repository()}
    hub.repositories[HALF].add(part_of(published, "unet", "scheduler"))
    hub.repositories[LGM_HALF].add(part_of(published, "lgm"))
    views = load_pipeline(HALF)
    assert type(views) is MVDreamPipeline
    whole = load_pipeline(HALF, lgm=LGM_HALF)
    assert isinstance(whole, LGMFullPipeline)
    assert whole.lgm.config.rotation == "identity"
    assert whole.source["lgm"] == f"{LGM_HALF}@{hub.repositories[LGM_HALF].commit('main')}"
    with pytest.raises(WeightsError, match="MVDreamPipeline"):
        LGMFullPipeline.from_pretrained(HALF)
    with pytest.raises(InputError, match="makes views only"):
        generate_one(sample("mug"), "unused", GenerateSettings(model=HALF))


def test_lgm_alone_names_the_other_half(hub: Hub, published: dict[str, bytes]) -> None:
    hub.repositories[LGM_HALF] = Repository()
    hub.repositories[LGM_HALF].add(part_of(published, "lgm"))
    with pytest.raises(WeightsError, match="lgm='dylanebert/LGM'"):
        load_pipeline(LGM_HALF)
    assert hub.sent == 0  # said before its weights are fetched


def test_views_alone_of_a_whole_model(hub: Hub, full: Repository) -> None:
    pipe = MVDreamPipeline.from_pretrained(FULL)
    assert not hasattr(pipe, "lgm")
    assert "lgm/diffusion_pytorch_model.safetensors" not in hub.files_asked()


def bare(hub: Hub, published: dict[str, bytes], *names: str) -> Repository:
    """A repository of LGM's weight files alone. (Its configuration is the small one; without it, it is "big".)"""
    content = published["lgm/diffusion_pytorch_model.safetensors"]
    hub.repositories[BARE] = Repository()
    hub.repositories[BARE].add(
        {"config.json": published["lgm/config.json"], "model.ckpt": b"x"} | dict.fromkeys(names, content)
    )
    return hub.repositories[BARE]


@pytest.mark.parametrize(
    ("names", "asked", "rotation"),
    [
        (("model_fp16.safetensors", "model_fp16_fixrot.safetensors"), BARE, "normalized"),
        (("model_fp16.safetensors",), BARE, "identity"),
        (("model_fp16.safetensors", "model_fp16_fixrot.safetensors"), f"{BARE}/model_fp16.safetensors", "identity"),
    ],
)
def test_bare_weights_of_a_repository(
    hub: Hub, full: Repository, published: dict[str, bytes], names: tuple[str, ...], asked: str, rotation: str
) -> None:
    commit = bare(hub, published, *names).commit("main")
    pipe = load_pipeline(FULL, lgm=asked)
    assert pipe.lgm.config.rotation == rotation
    file = "model_fp16_fixrot.safetensors" if rotation == "normalized" else "model_fp16.safetensors"
    assert pipe.source["lgm"] == f"{BARE}/{file}@{commit}"
    assert {name for name in hub.files_asked() if "/" not in name and name.endswith(".safetensors")} == {file}
    assert "lgm/diffusion_pytorch_model.safetensors" not in hub.files_asked()  # its own LGM is not needed


def test_a_repository_without_lgm(hub: Hub, published: dict[str, bytes]) -> None:
    bare(hub, published)
    with pytest.raises(WeightsError, match=r"'ashawkey/LGM' must hold .*model_fp16_fixrot"):
        resolve_lgm(BARE)
    with pytest.raises(WeightsError, match=r"must hold other\.safetensors"):
        resolve_lgm(f"{BARE}/other.safetensors")
    with pytest.raises(WeightsError, match="pickle"):
        resolve_lgm(f"{BARE}/model.ckpt")
    assert hub.sent == 0


def test_the_record_of_an_object_tells_the_commit(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["somebody/tiny"] = Repository()
    commit = hub.repositories["somebody/tiny"].add(files_of(TINY))
    settings = GenerateSettings(model="somebody/tiny", formats=("ply",))
    with pytest.warns(UserWarning, match="unknown repository"):
        record = generate_one(sample("mug"), tmp_path / "out", settings)
    assert record["model"]["commit"] == commit
    assert generate_one(sample("mug"), tmp_path / "tiny", GenerateSettings(formats=("ply",)))["model"]["commit"] is None


def test_local_files(full: Repository, published: dict[str, bytes], tmp_path: Path) -> None:
    """A bare file on the disk: its name tells the rotation, or the caller does."""
    for name in ("model_fp16_fixrot.safetensors", "model_fp16.safetensors", "mine.safetensors"):
        (tmp_path / name).write_bytes(published["lgm/diffusion_pytorch_model.safetensors"])
    (tmp_path / "config.json").write_bytes(published["lgm/config.json"])
    for name, rotation in (("model_fp16_fixrot", "normalized"), ("model_fp16", "identity")):
        pipe = load_pipeline(FULL, lgm=tmp_path / f"{name}.safetensors")
        assert pipe.lgm.config.rotation == rotation
        assert pipe.source["lgm"] == str(tmp_path / f"{name}.safetensors")
    assert load_pipeline(FULL, lgm=tmp_path / "mine.safetensors", rotation="identity").lgm.config.rotation == "identity"
    with pytest.warns(UserWarning, match='rotation="identity"'):
        assert load_pipeline(FULL, lgm=tmp_path / "mine.safetensors").lgm.config.rotation == "normalized"
    with pytest.raises(InputError, match="sideways"):
        load_pipeline(FULL, lgm=tmp_path / "mine.safetensors", rotation="sideways")
    with pytest.raises(WeightsError, match="lgm="):
        load_pipeline(tmp_path / "model_fp16.safetensors")


def test_a_bare_file_is_of_the_big_configuration(tmp_path: Path) -> None:
    file = tmp_path / "model_fp16.safetensors"
    save_file({"conv.weight": torch.zeros(14, 14, 1, 1)}, file)
    with pytest.raises(WeightsError, match="375 missing"):
        load_pipeline("tiny", lgm=file)


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "weights.pt", "weights.pth", "a.pkl"])
def test_pickles_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"never read")
    for arguments in ({"name": tmp_path / name}, {"name": "tiny", "lgm": tmp_path / name}):
        with pytest.raises(WeightsError, match="pickle"):
            load_pipeline(**arguments)


def test_a_name_that_is_nothing() -> None:
    with pytest.raises(WeightsError, match=r"'tiny'.*LGM-full.*got 'tinny'"):
        load_pipeline("tinny")
    with pytest.raises(WeightsError, match="got 'tinny'"):
        load_pipeline("tiny", lgm="tinny")


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_private_names_of_the_hubs_client_are_there(name: str) -> None:
    module, _, function = name.partition(".")
    home = importlib.import_module(f"huggingface_hub.{module}")
    moved = f"huggingface_hub {huggingface_hub.__version__} has no {name}: hub/download.py needs another way"
    assert callable(getattr(home, function, None)), moved
