"""Start the app on this machine, with limits for what comes in."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .._optional import require
from ..errors import Image3DError
from ..generate import GenerateSettings, generate_one, preload
from .settings import AppSettings, Generate
from .visitors import Visitors

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_JSON_BYTES = 1_000_000  # of a request without a file
_PATIENCE = 10.0  # seconds that running jobs get to reach their next step at the end
_HEAD_START = 1.0  # seconds in which the first page has the processor for itself
_FAR_FILE = re.compile(r"/(file=|file/|proxy=)/*[a-z][a-z0-9+.-]+:", re.IGNORECASE)


class Guard:
    """ASGI middleware: no file of another host, no endless request, no upload to a full disk."""

    def __init__(self, app: ASGIApp, settings: AppSettings, visitors: Visitors) -> None:
        self.app, self.settings, self.visitors = app, settings, visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        from starlette.exceptions import HTTPException
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, received = scope["path"], 0
        is_upload = path.rstrip("/").endswith("/upload")
        limit = (
            self.settings.max_upload * (1 if is_upload else 4 / 3 if "/mcp" in path else 0) + _JSON_BYTES
        )  # 4/3: base64

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"a request must have at most {limit:,.0f} bytes; it has more")
            return message

        if _FAR_FILE.search(path):
            refusal = PlainTextResponse("a file must be one of this app; got a URL", 403)
            return await refusal(scope, receive, send)
        if is_upload and self.visitors.bytes > self.settings.max_disk:
            refusal = PlainTextResponse("the app's disk is full: try again in some minutes", 507)
            return await refusal(scope, receive, send)
        return await self.app(scope, counted, send)


@contextmanager
def serving(
    settings: AppSettings | None = None, *, host: str | None = None, port: int | None = None, mcp: bool = False,
    generate: Generate = generate_one,
) -> Iterator[str]:  # fmt: skip
    """Run the app beside the caller's code, for as long as the block runs. One app can run in a process.

    Args:
        settings: see :class:`AppSettings`; None uses the defaults.
        host: the address to listen on; None is this machine only, or ``GRADIO_SERVER_NAME``.
        port: None is the first free one from 7860, or ``GRADIO_SERVER_PORT``.
        mcp: also offer the app as a tool to language models (Model Context Protocol).
        generate: makes an object; called like :func:`image3d_nb.generate_one`.

    Yields:
        The app's address, http://127.0.0.1:7860/.

    Raises:
        ImportError: gradio is not installed.
        OSError: the port is taken.
    """
    settings = settings or AppSettings()
    before = {name: os.environ.get(name) for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED")}
    visitors = Visitors(Path(tempfile.mkdtemp(prefix="image3d-app-")).resolve(), settings.keep, settings.max_disk)
    # gradio reads both when it is first imported and when a page is built
    os.environ.update(GRADIO_TEMP_DIR=str(visitors.folder), GRADIO_ANALYTICS_ENABLED="False")
    app, later = None, threading.Timer(_HEAD_START, _preload, (settings,))
    later.daemon = True
    try:
        require("gradio", "app", "image3d_nb.app")
        if mcp:
            require("mcp", "mcp", "image3d app --mcp")
        from starlette.middleware import Middleware

        from .demo import demo

        app = demo(settings, visitors, generate)
        app.queue(max_size=settings.max_queue, default_concurrency_limit=4)
        visitors.sweep_until_closed(min(60.0, settings.keep / 4))
        _, address, _ = app.launch(
            server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, show_error=False,
            max_file_size=settings.max_upload, ssr_mode=False, mcp_server=mcp, footer_links=["api"], run_history=False,
            enable_monitoring=False, app_kwargs={"middleware": [Middleware(Guard, settings, visitors)]},
        )  # fmt: skip
        if generate is generate_one:  # else the caller has loaded its own
            later.start()
        yield address
    finally:
        later.cancel()
        if app is not None:
            app.close(verbose=False)
        visitors.close(_PATIENCE)
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {} if value is None else {name: value}


def _preload(settings: AppSettings) -> None:
    """Load the first model, so that the first visitors need not wait. A visitor is told what is wrong with it."""
    with suppress(Image3DError):
        preload(GenerateSettings(model=settings.models[0], device=settings.device, memory=settings.memory))
