"""The page and its handlers. Each handler is an endpoint of the API, and with ``mcp`` a tool."""

from __future__ import annotations

import html
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._optional import require
from ..errors import Cancelled, Image3DError, ImageError, InputError
from ..generate import FORMATS, GenerateSettings
from ..images import load_image, prepare_image, sample
from ..record import RECORD

if TYPE_CHECKING:
    import gradio as gr

    from .settings import AppSettings, Generate
    from .visitors import Visitors
else:
    gr = require("gradio", "app", "image3d_nb.app")

_SAMPLES = ("mug", "duck", "house", "robot", "car", "toadstool")
_WORDS = {"load": "Loading the model", "generate": "Making views", "files": "Writing files"}
_FIRST = ("ply", "glb", "html", "gif")  # formats chosen at the start
_HEAD = """# One image in, one 3D object out
Choose an image of one object on a plain background, look at what the model sees of it, and press **Make it 3D**.
"""


class Handlers:
    """What the page's buttons do."""

    def __init__(self, settings: AppSettings, visitors: Visitors, generate: Generate) -> None:
        self.settings, self.visitors, self._generate = settings, visitors, generate

    def see(self, image: str | None, request: gr.Request) -> str | None:
        """Show what the model sees of an image: the object, cut out, on a white square.

        Args:
            image: the image.
        """
        if image is None:
            return None
        target = self.visitors.new_folder(request.session_hash).with_suffix(".png")
        try:
            prepare_image(_read(image)).save(target)
        except Image3DError as error:
            raise _sentence(error) from error
        return str(target)

    def fetch(self, url: str) -> str:
        """Load an image from the web.

        Args:
            url: an http(s) URL.
        """
        try:
            if not url.lower().startswith(("http://", "https://")):  # a path would be read from the server's disk
                raise ImageError(f"the URL of an image must start with http:// or https://; got {url[:80]!r}")
            image = load_image(url, max_bytes=self.settings.max_upload, public_only=True)
            folder = self.visitors.new_folder(secrets.token_hex())
        except Image3DError as error:
            raise _sentence(error) from error
        image.save(folder.with_suffix(".png"))
        return str(folder.with_suffix(".png"))

    def image_to_3d(
        self, image: str | None, model: str, seed: float, steps: float, refine: bool, formats: list[str],
        request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008 -- how gradio finds it
    ) -> tuple[Any, ...]:  # fmt: skip
        """Make a 3D object of an image of one object on a plain background.

        Args:
            image: the image.
            model: the model that makes it.
            seed: a whole number; the same seed gives the same object.
            steps: denoising steps; 0 for the model's own number.
            refine: sharpen the object's front from the image, some seconds.
            formats: files to make: ply, splat, spz and sog hold splats, glb and stl a mesh, html is a page.
        """
        session = request.session_hash
        try:
            if image is None:
                raise InputError("there must be an image; got none")
            wanted = self._settings(model, seed, steps, refine, formats)
            _read(image)  # before the model is loaded
            folder = self.visitors.new_folder(session)
            with self.visitors.job(session) as stop:
                record = self._generate(
                    image, folder, wanted, lambda stage, *done: progress(done, desc=_WORDS[stage]), stop.is_set
                )
        except Cancelled:
            gr.Info("Cancelled.")
            return (gr.skip(),) * 7
        except Image3DError as error:
            raise _sentence(error) from error
        for sentence in record["warnings"]:
            gr.Warning(html.escape(sentence))
        names = [*record["files"], RECORD]
        found = {Path(name).suffix: str(folder / name) for name in record["files"]}
        splats = found.get(".ply") or found.get(".splat")
        note = f"{record['gaussians']:,} Gaussians in {record['seconds']['total']:.1f} s"
        return (
            str(folder / "input.png"), str(folder / "views.png"), splats, found.get(".glb"),
            [str(folder / name) for name in names], note, record,
        )  # fmt: skip

    def cancel(self, request: gr.Request) -> None:
        """Stop the running job of this visitor."""
        self.visitors.cancel(request.session_hash)

    def leave(self, request: gr.Request) -> None:
        """Delete the results of a visitor who closed the page."""
        self.visitors.leaves(request.session_hash)

    def _settings(self, model: str, seed: float, steps: float, refine: bool, formats: list[str]) -> GenerateSettings:
        most = self.settings.max_steps
        if model not in self.settings.models:
            raise InputError(f"model must be one of {', '.join(self.settings.models)}; got {model!r}")
        if not isinstance(steps, (int, float)) or not 0 <= steps <= most or steps != int(steps):
            raise InputError(f"steps must be a whole number from 0 to {most}; got {steps!r}")
        whole: Any = int(seed) if isinstance(seed, float) and seed.is_integer() else seed
        return GenerateSettings(
            model=model,
            seed=whole,
            steps=int(steps) or None,
            refine=refine,
            formats=tuple(formats),
            device=self.settings.device,
            memory=self.settings.memory,
        )  # fmt: skip


def _read(path: str) -> Any:
    if not Path(path).is_file():
        raise ImageError("the image must still be on the server; it was swept: upload it again")
    return load_image(Path(path))


def _sentence(error: Image3DError) -> gr.Error:
    return gr.Error(html.escape(str(error), quote=False), print_exception=False)


def demo(settings: AppSettings, visitors: Visitors, generate: Generate) -> gr.Blocks:
    """Build the page.

    Args:
        settings: limits and choices.
        visitors: where files go.
        generate: makes an object; called like :func:`image3d_nb.generate_one`.
    """
    do = Handlers(settings, visitors, generate)
    shown: Any = {"interactive": False, "buttons": ["download", "fullscreen"]}  # no "share": it uploads
    solid: Any = {"interactive": False, "height": 360, "clear_color": (1.0, 1.0, 1.0, 1.0)}
    samples = [sample(name) for name in _SAMPLES]
    gr.set_static_paths([samples[0].parent])  # served from where they are: a copy would be swept
    with gr.Blocks(title="image3d: image to 3D", analytics_enabled=False) as page:
        gr.Markdown(_HEAD)
        with gr.Row():
            with gr.Column():
                picture = gr.Image(
                    label="Image", sources=["upload", "webcam", "clipboard"], type="filepath", image_mode=None,
                    height=280, elem_id="picture",
                )  # fmt: skip
                # gradio's own opens the file with every reader that Pillow has, before ours can refuse one
                block: Any = picture
                block.preprocess = lambda payload: payload and payload.path
                gr.Examples([[str(path)] for path in samples], picture, api_visibility="private")
                with gr.Accordion("From the web", open=False):
                    url = gr.Textbox(label="URL of an image", elem_id="url")
                    fetch = gr.Button("Fetch")
                model = gr.Dropdown(list(settings.models), value=settings.models[0], label="Model")
                with gr.Row():
                    seed = gr.Number(0, label="Seed", minimum=0, step=1)
                    steps = gr.Slider(0, settings.max_steps, 0, step=1, label="Steps (0: the model's own)")
                refine = gr.Checkbox(False, label="Sharpen the front from the image (some seconds)")
                formats = gr.CheckboxGroup(list(FORMATS), value=list(_FIRST), label="Files to make")
                with gr.Row():
                    run = gr.Button("Make it 3D", variant="primary", elem_id="run")
                    cancel = gr.Button("Cancel", elem_id="cancel")
            with gr.Column():
                seen = gr.Image(label="What the model sees", height=200, elem_id="seen", **shown)
                views = gr.Image(label="The four views", elem_id="views", **shown)
                note = gr.Markdown(elem_id="note")
                with gr.Row():  # not in tabs: a hidden canvas stays empty
                    splats = gr.Model3D(label="Splats", elem_id="splats", **solid)
                    mesh = gr.Model3D(label="Mesh", elem_id="mesh", **solid)
                files = gr.File(label="Downloads", file_count="multiple", interactive=False, elem_id="files")
                with gr.Accordion("Record: everything to make it again", open=False):
                    record = gr.JSON(label="Record")
        picture.change(do.see, picture, seen, api_name="see", show_progress="minimal", concurrency_limit=2)
        fetch.click(do.fetch, url, picture, api_name="fetch")
        job = run.click(
            do.image_to_3d, [picture, model, seed, steps, refine, formats],
            [seen, views, splats, mesh, files, note, record],
            api_name="image_to_3d", concurrency_limit=1, show_progress_on=[views],
        )  # fmt: skip
        cancel.click(do.cancel, api_name="cancel", cancels=[job], queue=False)
        page.unload(do.leave)
    for block in page.blocks.values():
        _fetch_through(block, do.fetch)
    return page


def _fetch_through(block: Any, fetch: Callable[[str], str]) -> None:
    """Let a component load URLs with our loader; gradio's own has no limit of bytes or time."""
    later: Callable[[Any], Awaitable[str | None]] = block.async_move_resource_to_block_cache
    now: Callable[[Any], str | None] = block.move_resource_to_block_cache

    def is_far(path: Any) -> bool:
        return isinstance(path, str) and "://" in path

    async def move_later(path: Any) -> str | None:
        from anyio.to_thread import run_sync

        return await later(await run_sync(fetch, path) if is_far(path) else path)

    block.async_move_resource_to_block_cache = move_later
    block.move_resource_to_block_cache = lambda path: now(fetch(path) if is_far(path) else path)
