"""Folders to upload: read as the hub reads them, and opened in Chromium with the network off."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gradio_client import Client, handle_file
from packaging.requirements import Requirement
from playwright.sync_api import Browser

import image3d_nb as i3d
from image3d_nb.cli import main
from image3d_nb.errors import FormatError, InputError, WeightsError
from image3d_nb.generate import GenerateSettings, generate_one
from image3d_nb.publish import publish_model, publish_page, publish_space
from image3d_nb.record import description

from . import browser as harness
from .test_project import pip_of

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("publish")]

MUG, CAR = i3d.sample("mug"), i3d.sample("car")
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # hub-docs, spaces-config-reference


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two results, one without a page."""
    folder = tmp_path_factory.mktemp("results")
    generate_one(MUG, folder / "mug", GenerateSettings(formats=("ply", "html")))
    generate_one(CAR, folder / "car", GenerateSettings(formats=("spz",), seed=5))
    return folder


def front_matter(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text("utf-8")
    _, head, body = text.split("---\n", 2)
    assert body.strip()
    found = yaml.safe_load(head)
    assert isinstance(found, dict)
    return found


def check_space(front: dict[str, Any]) -> None:
    assert front["title"]
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert len(front["emoji"]) == 1


# ---------------------------------------------------------------- the gallery


def test_the_gallery_turns_with_the_network_off(results: Path, browser: Browser, tmp_path: Path) -> None:
    site = publish_page([results], tmp_path / "site", title="Mine <b>&", licence="CC-BY-4.0")
    front = front_matter(site)
    check_space(front)
    assert (front["sdk"], front["title"]) == ("static", "Mine <b>&")
    moved = tmp_path / "elsewhere"
    site.rename(moved)  # nothing depends on where it was made
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 900})
    page = context.new_page()
    seen = harness.watch(page)
    page.goto((moved / "index.html").as_uri())
    assert page.title() == "Mine <b>&"
    assert page.locator("article").count() == 2
    for name, model in (("mug", "tiny"), ("car", "tiny")):
        article = page.locator("article", has=page.locator("h2", has_text=name))
        article.scroll_into_view_if_needed()
        assert {"CC-BY-4.0", "cc0-1.0", model} <= set(re.findall(r"[\w.-]+", article.inner_text()))
        assert article.locator("img").evaluate_all("images => images.every(image => image.naturalWidth > 60)")
        (frame,) = [frame for frame in page.frames if frame.url.endswith(f"{name}/{name}.html")]
        harness.wait_until(frame, "window.image3dViewer !== undefined", 120)
        frame.evaluate("image3dViewer.ready")
        assert harness.covered(harness.picture_of(frame)) > 0.05
        for link in article.locator("a").all():
            assert (moved / str(link.get_attribute("href"))).is_file()
    assert (seen.strangers(), seen.errors) == ([], [])
    context.close()


def test_no_page_of_the_gallery_names_another_host(results: Path, tmp_path: Path) -> None:
    site = publish_page([results / "mug"], tmp_path / "site")
    page = (site / "index.html").read_text("utf-8")
    assert not re.search(r"(src|href)=[\"'](https?:|//|/|file:)", page)
    record = json.loads((site / "mug" / "result.json").read_text("utf-8"))
    assert set(record["files"]) == {"input.png", "views.png", "mug.ply", "mug.html"}
    assert len(i3d.load(site / "mug" / "mug.ply")) == record["gaussians"]


def test_two_results_of_one_name_stay_apart_and_paths_of_this_machine_stay_here(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "again"
    shutil.copytree(results / "mug", copy)
    record = json.loads((copy / "result.json").read_text("utf-8"))
    record["model"]["name"] = record["settings"]["model"] = str(tmp_path / "secret" / "my_model")
    (copy / "result.json").write_text(json.dumps(record))
    site = publish_page([results / "mug", copy], tmp_path / "site")
    assert {path.name for path in site.iterdir() if path.is_dir()} == {"mug", "mug-2"}
    assert not [path for path in site.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    assert "my_model" in (site / "index.html").read_text("utf-8")


def test_a_numbered_name_may_be_taken_already(results: Path, tmp_path: Path) -> None:
    for place, name in (("x/a", "mug"), ("x/b", "mug-3"), ("y/c", "mug"), ("y/d", "mug")):
        shutil.copytree(results / "mug", tmp_path / place)
        changed(tmp_path / place, lambda record, name=name: record["input"].update(name=name))
    site = publish_page([tmp_path / "x", tmp_path / "y"], tmp_path / "site")
    assert {path.name for path in site.iterdir() if path.is_dir()} == {"mug", "mug-2", "mug-3", "mug-4"}


def test_a_model_without_steps_has_none_on_the_page(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "mug", tmp_path / "mug")
    assert "seed 0, 1 steps<" in (publish_page([tmp_path / "mug"], tmp_path / "a") / "index.html").read_text("utf-8")
    changed(tmp_path / "mug", lambda record: record.update(steps=None))  # as of TripoSR
    assert "seed 0<" in (publish_page([tmp_path / "mug"], tmp_path / "b") / "index.html").read_text("utf-8")


def test_a_mesh_alone_gets_a_page_as_the_docstring_says(results: Path, tmp_path: Path) -> None:
    assert "glb" in str(publish_page.__doc__)
    shutil.copytree(results / "mug", tmp_path / "mug")
    (tmp_path / "mug" / "mug.ply").unlink()
    (tmp_path / "mug" / "mug.html").unlink()
    i3d.save(i3d.Mesh(np.eye(3), np.array([[0, 1, 2]])), tmp_path / "mug" / "mug.glb")
    files = {name: description(tmp_path / "mug" / name) for name in ("input.png", "views.png", "mug.glb")}
    changed(tmp_path / "mug", lambda record: record.update(files=files))
    assert (publish_page([tmp_path / "mug"], tmp_path / "site") / "mug" / "mug.html").is_file()


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record of a result."""
    record = json.loads((folder / "result.json").read_text("utf-8"))
    change(record)
    (folder / "result.json").write_text(json.dumps(record))


def test_a_changed_file_and_a_foreign_folder_are_refused(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(results / "mug", copy)
    (copy / "mug.ply").write_bytes(b"ply\n")
    with pytest.raises(FormatError, match=r"mug\.ply"):
        publish_page([copy], tmp_path / "site")
    (tmp_path / "foreign").mkdir()
    with pytest.raises(FormatError, match=r"result\.json"):
        publish_page([tmp_path / "foreign"], tmp_path / "site2")
    assert not (tmp_path / "site").exists()
    assert not (tmp_path / "site2").exists()


def test_names_in_a_record_do_not_leave_its_folder(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(results / "mug", copy)
    record = json.loads((copy / "result.json").read_text("utf-8"))
    record["files"]["../../etc/passwd"] = record["files"]["mug.ply"]
    (copy / "result.json").write_text(json.dumps(record))
    with pytest.raises(FormatError, match="passwd"):
        publish_page([copy], tmp_path / "site")


def test_a_folder_with_files_is_replaced_only_by_force(results: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="force"):
        publish_page([results / "mug"], site)
    assert [path.name for path in site.iterdir()] == ["mine.txt"]
    publish_page([results / "mug"], site, force=True)
    assert (site / "index.html").is_file()
    assert not (site / "mine.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


# ---------------------------------------------------------------- the ZeroGPU Space


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_space(tmp_path_factory.mktemp("publish") / "space", title="Mine")


def test_the_settings_of_the_space(space: Path) -> None:
    front = front_matter(space)
    check_space(front)
    assert (front["sdk"], front["app_file"], front["python_version"]) == ("gradio", "app.py", "3.12.12")
    assert front["sdk_version"].startswith("6.")
    code = (space / "app.py").read_text("utf-8")
    compile(code, "app.py", "exec")
    assert "@spaces.GPU" in code
    assert code.index("import spaces") < code.index("from image3d_nb")
    assert {path.name for path in space.iterdir()} == {
        "README.md", "app.py", "requirements.txt", "image3d_nb-0.1.0-py3-none-any.whl"
    }  # fmt: skip
    needed = {found.name: found for found in map(Requirement, (space / "requirements.txt").read_text().splitlines())}
    assert needed["torch"].specifier.contains("2.11.0")
    assert not needed["torch"].specifier.contains("2.12.0")  # ZeroGPU's newest is 2.11
    assert {"diffusers", "numpy", "spaces"} <= set(needed)
    assert {"gradio", "image3d-nb"}.isdisjoint(needed)  # the README's sdk_version; the wheel beside it


def test_the_space_runs_from_its_folder_with_the_network_off(space: Path, browser: Browser, tmp_path: Path) -> None:
    # torch is this environment's, which may be newer than ZeroGPU's; every other line must install, without an index
    lines = [line for line in (space / "requirements.txt").read_text().splitlines() if not line.startswith("torch")]
    home = tmp_path / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    purelib = Path(pytest.__file__).parent.parent
    (site / "dependencies.pth").write_text(f"{purelib}\n", encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    subprocess.run(
        [*pip_of(home / "bin"), "install", "--quiet", "--no-index", "-r", str(tmp_path / "requirements.txt")],
        check=True,
    )
    moved = tmp_path / "app"
    shutil.copytree(space, moved)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "IMAGE3D"))}
    command = [str(home / "bin" / "python"), "app.py"]
    with subprocess.Popen(command, cwd=moved, env=clean, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = ""
            while not line.startswith("http"):
                line = process.stdout.readline()
                assert line, "the app ended"
            threading.Thread(target=process.stdout.read, daemon=True).start()
            url = line.strip()
            page = browser.new_page()
            page.set_default_timeout(240_000)
            seen = harness.watch(page)
            page.goto(url)
            page.wait_for_selector("#picture input[type=file]", state="attached")
            assert (seen.strangers(url, url.replace("http", "ws")), seen.errors) == ([], [])
            page.close()
            client = Client(url, verbose=False, download_files=tmp_path / "downloads", analytics_enabled=False)
            *_, record = client.predict(handle_file(str(MUG)), "tiny", 0, 0, False, ["ply"], api_name="/image_to_3d")
            assert record["gaussians"] == 16_384
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def test_the_wheel_of_the_space_installs_and_is_complete(space: Path, tmp_path: Path) -> None:
    (wheel,) = space.glob("*.whl")
    home = tmp_path / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    pip = [*pip_of(home / "bin"), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True)  # pip checks every file against RECORD
    names = set(zipfile.ZipFile(wheel).namelist())
    package = Path(i3d.__file__).parent
    code = {f"image3d_nb/{path.relative_to(package).as_posix()}" for path in package.rglob("*.py")}
    assert code <= names
    assert "image3d_nb/data/models/tiny/model_index.json" in names
    assert (home / "bin" / "image3d").is_file()


@pytest.mark.parametrize("model", ["/home/me/model", "../x", "a/b/c", ""])
def test_a_space_takes_models_that_it_can_reach(model: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hub"):
        publish_space(tmp_path / "space", models=(model,))
    assert not (tmp_path / "space").exists()


# ---------------------------------------------------------------- the model


def test_the_model_repository_loads_and_makes_the_same_object(tmp_path: Path) -> None:
    folder = publish_model("tiny", tmp_path / "model")
    front = front_matter(folder)
    assert (front["license"], front["pipeline_tag"], front["library_name"]) == ("cc0-1.0", "image-to-3d", "diffusers")
    assert not [path for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".ckpt", ".pkl")]
    assert "../" not in (folder / "README.md").read_text("utf-8")
    made = [
        generate_one(MUG, tmp_path / name, GenerateSettings(model=model, formats=("ply",)))["files"]["mug.ply"]
        for name, model in (("a", "tiny"), ("b", str(folder)))
    ]
    assert made[0] == made[1]


def test_a_model_needs_a_licence_and_its_data(tmp_path: Path) -> None:
    i3d.load_pipeline().save_pretrained(tmp_path / "mine")  # its card is a form to fill in
    with pytest.raises(InputError, match="licence"):
        publish_model(str(tmp_path / "mine"), tmp_path / "model")
    with pytest.raises(InputError, match="trained"):
        publish_model(str(tmp_path / "mine"), tmp_path / "model", licence="mit")
    assert not (tmp_path / "model").exists()
    folder = publish_model(str(tmp_path / "mine"), tmp_path / "model", licence="mit", data="A thousand mugs.")
    assert front_matter(folder)["license"] == "mit"
    card = (folder / "README.md").read_text("utf-8")
    assert "A thousand mugs." in card
    assert "Say here" not in card
    assert type(i3d.load_pipeline(str(folder))).__name__ == "LGMFullPipeline"
    with pytest.raises(WeightsError, match="model"):
        publish_model(str(tmp_path / "nothing"), tmp_path / "model2")


# ---------------------------------------------------------------- the command


def test_the_command_says_how_to_upload(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine"
    assert main(["publish", "page", str(results), "-o", str(out), "--title", "Mine"]) == 0
    said = capsys.readouterr().out
    assert f"hf upload YOUR_NAME/mine {out} . --repo-type space" in said
    assert main(["publish", "page", str(results), "-o", str(out)]) == 1
    assert "force" in capsys.readouterr().err
    assert main(["publish", "model", "tiny", "-o", str(tmp_path / "model")]) == 0
    assert "--repo-type" not in capsys.readouterr().out
    assert main(["publish", "space", "--model", "dylanebert/LGM-full", "-o", str(tmp_path / "space")]) == 0
    assert front_matter(tmp_path / "space")["models"] == ["dylanebert/LGM-full"]
    with pytest.raises(SystemExit, match="2"):
        main(["publish", "nothing"])
