"""The demo app: its page in Chromium, its API, its tool for language models, hostile visitors, and many at once."""

from __future__ import annotations

import asyncio
import base64
import colorsys
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Browser, Route

import image3d_nb as i3d
from image3d_nb.app import AppSettings
from image3d_nb.app.visitors import Visitors
from image3d_nb.cli import main
from image3d_nb.cli._console import STOPPED
from image3d_nb.errors import InputError
from image3d_nb.generate import GenerateSettings, generate_one

from . import browser as harness
from .test_images_load import corners, encode, png

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("app")]

MUG = i3d.sample("mug")
SECONDS = 240  # for a machine with a lot else to do; a few are usual
VISITORS = 40
NO_WEBGPU = re.compile(r"BJS - \[[\d:]+\]: WebGPU is not supported by your browser\.")  # it then takes WebGL
PLY = ("tiny", 0, 0, False, ["ply"])  # model, seed, steps, refine, formats


class Server:
    """``image3d app`` in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "image3d_nb", "app", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = ""
        while "answers at" not in line:
            line = self.process.stdout.readline()
            assert line, f"the app ended with {self.process.wait()}"
        threading.Thread(target=self.process.stdout.read, daemon=True).start()  # a full pipe would stop the app
        self.url = line.split("answers at ")[1].split()[0]

    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server("--mcp", "--max-upload", "2")
    yield running
    assert running.stop() == STOPPED


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


def client_of(server: Server, downloads: Path) -> Client:
    return Client(
        server.url, verbose=False, download_files=downloads, analytics_enabled=False, httpx_kwargs={"timeout": SECONDS}
    )


@pytest.fixture(scope="module")
def client(server: Server, downloads: Path) -> Client:
    return client_of(server, downloads)


def make(client: Client, image: Path, *settings: Any) -> tuple[dict[str, Path], dict[str, Any]]:
    """The downloaded files by name, and the record."""
    *_, files, _, record = client.predict(handle_file(str(image)), *settings, api_name="/image_to_3d")
    return {Path(name).name: Path(name) for name in files}, record


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def call(server: Server, endpoint: str, *data: Any) -> str:
    """The last event of a call without a client, which would refuse on its own what an attacker sends."""
    started = requests.post(f"{server.url}gradio_api/call/{endpoint}", json={"data": data}, timeout=SECONDS)
    if started.status_code != 200:
        return started.text
    answer = requests.get(f"{server.url}gradio_api/call/{endpoint}/{started.json()['event_id']}", timeout=SECONDS)
    return answer.text


def file_data(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


# ---------------------------------------------------------------- what it makes


def test_the_api_gives_what_generate_one_gives(client: Client, tmp_path: Path) -> None:
    files, record = make(client, MUG, "tiny", 3, 0, False, ["ply", "spz", "html"])
    here = generate_one(MUG, tmp_path, GenerateSettings(seed=3, formats=("ply", "spz", "html")))
    assert record["files"] == here["files"]
    assert {name: sha256(files[name]) for name in here["files"]} == {
        name: entry["sha256"] for name, entry in here["files"].items()
    }
    assert json.loads(files["result.json"].read_text()) == record
    assert len(i3d.load(files["mug.ply"])) == record["gaussians"]


def test_what_the_model_sees(client: Client) -> None:
    seen = client.predict(handle_file(str(MUG)), api_name="/see")
    with Image.open(seen) as image:
        assert image.convert("RGB").tobytes() == i3d.prepare_image(MUG).tobytes()


def test_the_endpoints_have_names_and_docs(client: Client) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]  # type: ignore[index]
    assert set(named) == {"/see", "/fetch", "/image_to_3d", "/cancel"}
    parameters = [entry["parameter_name"] for entry in named["/image_to_3d"]["parameters"]]
    assert parameters == ["image", "model", "seed", "steps", "refine", "formats"]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (("dylanebert/LGM-full", 0, 0, False, ["ply"]), "tiny"),
        (("../tiny", 0, 0, False, ["ply"]), "tiny"),
        (("tiny", -1, 0, False, ["ply"]), "0"),
        (("tiny", 0.5, 0, False, ["ply"]), "whole"),
        (("tiny", 0, 10**9, False, ["ply"]), "50"),
        (("tiny", 0, -1, False, ["ply"]), "0"),
        (("tiny", 0, 0, False, []), "formats"),
        (("tiny", 0, 0, False, ["../../exe"]), "exe"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(client: Client, settings: tuple[Any, ...], word: str) -> None:
    with pytest.raises(AppError, match=word):
        client.predict(handle_file(str(MUG)), *settings, api_name="/image_to_3d")


def test_no_image(client: Client) -> None:
    with pytest.raises(AppError, match="image"):
        client.predict(None, *PLY, api_name="/image_to_3d")


def test_cancel_stops_the_running_job_and_the_next_one_runs(client: Client) -> None:
    slow = ("tiny", 0, 50, True, ["ply", "glb", "gif"])
    start = time.monotonic()
    job = client.submit(handle_file(str(MUG)), *slow, api_name="/image_to_3d")
    while not (job.status().progress_data or job.done()):
        time.sleep(0.02)
    client.predict(api_name="/cancel")
    outputs = job.result(timeout=SECONDS)
    cancelled_after = time.monotonic() - start
    assert all((isinstance(each, dict) and "skip" in str(each)) or each is None or each == {"__type__": "update"}
               for each in outputs), outputs  # fmt: skip
    _, record = make(client, MUG, *PLY)
    assert record["settings"]["formats"] == ["ply"]
    assert cancelled_after < SECONDS


# ---------------------------------------------------------------- the page


def test_from_upload_to_downloaded_glb_with_the_network_off(server: Server, browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 1100}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(1000 * SECONDS)
    page.add_init_script("Object.defineProperty(navigator, 'gpu', {value: undefined})")  # it fails, slowly
    refused: list[str] = []

    def only_here(route: Route) -> None:
        if route.request.url.startswith((server.url, *harness.LOCAL)):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    page.route("**/*", only_here)
    seen = harness.watch(page)
    page.goto(server.url)
    page.set_input_files("#picture input[type=file]", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    page.get_by_text("first bytes").first.wait_for()  # a bad image is a sentence on the page
    page.goto(server.url)
    page.set_input_files("#picture input[type=file]", MUG)
    page.wait_for_selector("#seen img")
    for name in ("ply", "gif"):  # software draws 16,384 splats once a second; test_model3d.py looks at fewer
        page.locator(f'input[type=checkbox][name="{name}"]').uncheck()
    page.click("#run")
    page.wait_for_selector("#views img")
    page.wait_for_selector("#mesh canvas")
    link = page.locator('#files a[download="mug.glb"]')
    with page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "mug.glb")
    mesh = i3d.load(tmp_path / "mug.glb")
    assert isinstance(mesh, i3d.Mesh)
    assert i3d.mesh_report(mesh).watertight
    end = time.monotonic() + SECONDS
    while True:  # the mesh is drawn
        box = page.locator("#mesh canvas").bounding_box()
        assert box is not None
        drawn = harness.decode(page.screenshot(clip={**box, "y": box["y"] + 40, "height": box["height"] - 40}))
        if harness.covered(drawn) > 0.03:
            break
        assert time.monotonic() < end
    assert "Gaussians" in page.locator("#note").inner_text()
    errors = [error for error in seen.errors if not NO_WEBGPU.fullmatch(error)]
    assert (refused, seen.strangers(server.url, server.url.replace("http", "ws")), errors) == ([], [], [])
    context.close()


# ---------------------------------------------------------------- hostile visitors

HOSTILE = {
    "empty": (b"", "first bytes"),
    "zero": (b"\0", "first bytes"),
    "text": (b"hello, world", "first bytes"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "first bytes"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file", "first bytes"),
    "ply": (b"ply\nformat", "first bytes"),
    "pickle": (b"\x80\x04\x95\x10\x00\x00\x00", "first bytes"),
    "bomb": (png(60_000, 60_000, 8, 2, b""), "larger|pixels"),
    "large": (png(12_000, 12_000, 8, 2, b""), "144,000,000"),
    "one pixel": (encode(Image.new("RGB", (1, 1))), "2 x 2"),
    "white": (encode(Image.new("RGB", (64, 64), "white")), "object"),
    **{
        f"half a {kind}": (
            encode(corners(200, 100), kind)[: len(encode(corners(200, 100), kind)) // 2],
            "damaged|first",
        )
        for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
    },
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_hostile_uploads_are_refused_in_a_sentence(client: Client, tmp_path: Path, name: str, suffix: str) -> None:
    content, word = HOSTILE[name]
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(AppError, match=word) as caught:
        client.predict(handle_file(str(tmp_path / f"a{suffix}")), *PLY, api_name="/image_to_3d")
    assert not re.search(r"/tmp|\\\\|Traceback", str(caught.value))  # no path of the server


@pytest.mark.parametrize(
    "name", ["../../../a.png", "..\\..\\a.png", "/etc/cron.d/a.png", "a\0b.png", "." * 300, "CON.png"]
)
def test_names_of_uploads_stay_in_their_folder(server: Server, name: str) -> None:
    content = encode(corners())
    answer = requests.post(f"{server.url}gradio_api/upload", files={"files": (name, content)}, timeout=SECONDS)
    if answer.status_code == 200:
        (path,) = answer.json()
        assert re.fullmatch(r"image3d-app-\w+", Path(path).parent.parent.name)
        assert re.fullmatch(r"[0-9a-f]{64}", Path(path).parent.name)  # a salted hash of its content
        assert Path(path).resolve() == Path(path)
        assert Path(path).read_bytes() == content
    else:
        assert answer.status_code in (400, 413, 500)


PATHS = ["/etc/passwd", "../../../../etc/passwd", "file:///etc/passwd", "/proc/self/environ", "~/.ssh/id_rsa", "/", "."]
URLS = [
    "http://127.0.0.1:1/a.png", "http://localhost:1/a.png", "http://169.254.169.254/latest/meta-data/",
    "http://[::1]:1/a.png", "http://10.0.0.1/a.png", "http://2130706433/a.png", "http://0x7f.1/a.png",
    "http://[::ffff:127.0.0.1]/", "https://192.168.0.1/a.png",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", ["see", "image_to_3d"])
@pytest.mark.parametrize("path", PATHS)
def test_paths_of_the_server_are_refused(server: Server, endpoint: str, path: str) -> None:
    answer = call(server, endpoint, file_data(path), *(PLY if endpoint == "image_to_3d" else ()))
    assert "event: error" in answer
    assert "root:" not in answer


@pytest.mark.parametrize("url", URLS)
def test_private_urls_are_refused_wherever_they_stand(server: Server, url: str) -> None:
    assert re.search(r"event: error[\s\S]*public", call(server, "fetch", url))
    assert re.search(r"event: error[\s\S]*public", call(server, "see", file_data(url)))
    for place in range(5):  # in the place of any other input, which gradio would fetch as well
        data: list[Any] = [None, *PLY]
        data[place + 1] = file_data(url)
        assert re.search(r"event: error[\s\S]*public", call(server, "image_to_3d", *data))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "/etc/passwd", "ftp://x/a.png", "", "data:image/png;base64,AAAA", "mug.png"]
)
def test_fetch_takes_http_only(server: Server, url: str) -> None:
    assert re.search(r"event: error[\s\S]*http", call(server, "fetch", url))


@pytest.mark.parametrize("path", [*PATHS, *URLS, "http:/127.0.0.1/", "//etc/passwd", "..%2f..%2f..%2fetc/passwd"])
@pytest.mark.parametrize("route", ["file=", "file/", "proxy="])
def test_no_route_gives_other_files_or_hosts(server: Server, route: str, path: str) -> None:
    answer = requests.get(f"{server.url}gradio_api/{route}{path}", timeout=SECONDS, allow_redirects=False)
    assert answer.status_code in (400, 403, 404)
    assert "root:" not in answer.text


def test_results_are_served_by_their_whole_path_only(server: Server, client: Client) -> None:
    call_ = client.submit(handle_file(str(MUG)), *PLY, api_name="/image_to_3d")
    call_.result(timeout=SECONDS)
    uploaded = requests.post(f"{server.url}gradio_api/upload", files={"files": ("m.png", MUG.read_bytes())}, timeout=60)
    root = Path(uploaded.json()[0]).parent.parent
    assert requests.get(f"{server.url}gradio_api/file={uploaded.json()[0]}", timeout=60).content == MUG.read_bytes()
    homes = list((root / "visitors").iterdir())
    assert homes
    for folder in (root, root / "visitors", homes[0]):
        assert requests.get(f"{server.url}gradio_api/file={folder}", timeout=60).status_code == 403
    assert all(len(run.stem) == 32 for home in homes for run in home.iterdir())
    assert root.stat().st_mode & 0o077 == 0  # other users of the machine see nothing


def test_limits_of_what_is_sent(server: Server) -> None:
    upload = f"{server.url}gradio_api/upload"
    large = requests.post(upload, files={"files": ("a.png", bytes(2_500_000))}, timeout=SECONDS)
    assert large.status_code == 413
    many = requests.post(
        upload, files=[("files", (f"{n}.png", os.urandom(500_000))) for n in range(9)], timeout=SECONDS
    )
    assert many.status_code in (400, 413)
    text = call(server, "fetch", "http://" + 3_000_000 * "a")
    assert "bytes" in text or "error" in text
    assert "event: complete" not in text
    assert requests.get(server.url, timeout=SECONDS).status_code == 200


# ---------------------------------------------------------------- language models


def test_a_language_model_uses_it_as_a_tool(server: Server) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    settings = {"model": "tiny", "seed": 0, "steps": 0, "refine": False, "formats": ["ply"]}
    picture = "data:image/png;base64," + base64.b64encode(MUG.read_bytes()).decode()

    async def talk() -> tuple[set[str], Any, Any]:
        async with (
            streamablehttp_client(f"{server.url}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            (name,) = [name for name in tools if "image_to_3d" in name]
            assert "3D object" in str(tools[name].description)
            good = await session.call_tool(name, {"image": picture, **settings})
            bad = await session.call_tool(name, {"image": "http://169.254.169.254/a.png", **settings})
            return set(tools), good, bad

    with ThreadPoolExecutor(1) as pool:  # Playwright's event loop runs in this thread
        tools, good, bad = pool.submit(asyncio.run, asyncio.wait_for(talk(), SECONDS)).result()
    assert len(tools) == 4
    links = [part.text for part in good.content if part.type == "text"]
    (ply,) = {link.removeprefix("Image URL: ") for text in links for link in re.findall(r"http\S+?\.ply", text)}
    assert requests.get(ply, timeout=60).content.startswith(b"ply")
    assert bad.isError
    assert "public" in bad.content[0].text


# ---------------------------------------------------------------- many at once


def test_forty_visitors_get_their_own_objects(server: Server, downloads: Path, tmp_path: Path) -> None:
    mug = np.asarray(Image.open(MUG).convert("RGBA").resize((128, 128))).copy()
    images = []
    for number in range(VISITORS):
        red, green, blue = colorsys.hsv_to_rgb(number / VISITORS, 0.8, 0.9)
        tinted = mug.copy()
        tinted[..., :3] = mug[..., :3].mean(-1, keepdims=True) * np.array([red, green, blue])
        images.append(tmp_path / f"{number}.png")
        Image.fromarray(tinted).save(images[-1])
    make(client_of(server, downloads), MUG, *PLY)  # the model is loaded
    before = server.memory()
    most = [before]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            most[0] = max(most[0], server.memory())

    threading.Thread(target=watch, daemon=True).start()

    def visit(number: int) -> tuple[dict[str, Path], dict[str, Any]]:
        return make(client_of(server, downloads / str(number)), images[number], "tiny", number, 0, False, ["ply"])

    try:
        with ThreadPoolExecutor(VISITORS) as pool:
            answers = list(pool.map(visit, range(VISITORS)))
    finally:
        over.set()
    for number, (files, record) in enumerate(answers):
        assert (record["seed"], record["input"]["sha256"]) == (number, sha256(images[number]))
        assert sha256(files[f"{number}.ply"]) == record["files"][f"{number}.ply"]["sha256"]
    assert len({record["files"][f"{n}.ply"]["sha256"] for n, (_, record) in enumerate(answers)}) == VISITORS
    colours = [
        i3d.load(files[f"{n}.ply"]).prune(min_opacity=0.5).sh[:, 0].mean(0) for n, (files, _) in enumerate(answers)
    ]  # type: ignore[union-attr]
    assert colours[0].argmax() == 0  # red in, red out
    assert colours[VISITORS // 3].argmax() == 1
    assert colours[2 * VISITORS // 3].argmax() == 2
    assert most[0] - before < 400e6, f"{before / 1e6:.0f} MB before, {most[0] / 1e6:.0f} MB at most"


def test_a_full_queue_refuses_in_a_sentence_and_sigterm_ends_a_running_job(downloads: Path) -> None:
    server = Server("--max-queue", "1")
    try:
        client = client_of(server, downloads)
        slow = ("tiny", 0, 50, True, ["ply"])
        jobs = [client.submit(handle_file(str(MUG)), *slow, api_name="/image_to_3d") for _ in range(4)]
        end = time.monotonic() + SECONDS
        while not any(job.done() for job in jobs):
            assert time.monotonic() < end
            time.sleep(0.05)
        errors = [job.exception() for job in jobs if job.done()]
        assert all("full" in str(error).lower() for error in errors), errors
        while not any(job.status().progress_data for job in jobs):
            assert time.monotonic() < end
            time.sleep(0.05)
        upload = requests.post(f"{server.url}gradio_api/upload", files={"files": ("a.png", b"x")}, timeout=SECONDS)
    finally:
        code = server.stop(signal.SIGTERM)
    assert code == STOPPED
    assert not Path(upload.json()[0]).parent.parent.exists()  # nothing is left on the disk


# ---------------------------------------------------------------- folders and settings


def test_old_files_are_swept_and_new_ones_stay(tmp_path: Path) -> None:
    visitors = Visitors(tmp_path, keep=100, max_bytes=10)
    old, new = visitors.new_folder("a"), visitors.new_folder("b")
    for folder in (old, new):
        folder.mkdir()
        (folder / "mug.ply").write_bytes(b"1234")
    for path in (old / "mug.ply", old, old.parent):
        os.utime(path, (0, 0))
    visitors.sweep()
    assert not old.exists()
    assert (new / "mug.ply").read_bytes() == b"1234"
    assert visitors.bytes == 4
    (new / "more").write_bytes(bytes(20))
    visitors.sweep()
    with pytest.raises(InputError, match="10"):
        visitors.new_folder("c")


def test_a_visitor_who_leaves_takes_only_their_own_files(tmp_path: Path) -> None:
    visitors = Visitors(tmp_path, keep=100, max_bytes=10)
    mine, other = visitors.new_folder("a"), visitors.new_folder("b")
    mine.mkdir()
    other.mkdir()
    with visitors.job("a") as my_job, visitors.job("b") as other_job:
        visitors.leaves("a")
        assert (mine.exists(), other.exists(), my_job.is_set(), other_job.is_set()) == (False, True, True, False)
        assert Visitors(tmp_path, 1, 1).new_folder("b").parent != other.parent  # the name needs the process's secret
        visitors.close()
        assert not tmp_path.exists()
        assert other_job.is_set()


@pytest.mark.parametrize(
    ("options", "word"), [({"models": ()}, "models"), ({"max_queue": 0}, "max_queue"), ({"keep": -1.0}, "keep")]
)
def test_wrong_settings_of_the_operator(options: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        AppSettings(**options)


def test_the_command_refuses_wrong_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["app", "--max-queue", "0"])
    assert "max_queue" in capsys.readouterr().err


def test_without_gradio_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 1
    assert "image3d-nb[app]" in capsys.readouterr().err
