"""``image3d app``: the demo page."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from ..errors import Image3DError, InputError
from ..generate import MEMORY
from ._console import FAILED, complain, say

if TYPE_CHECKING:
    from ._console import Commands


def add(commands: Commands) -> None:
    """Add the parser of ``app``."""
    parser = commands.add_parser(
        "app",
        help="a page in the browser where anybody can try it",
        description="Start a demo: an image in, what the model sees of it, the views, the object to turn, and its "
        "files. It also answers gradio's clients, and with --mcp language models. It listens on this machine only, "
        "unless --host says otherwise. Ctrl-C or SIGTERM ends it and deletes its files.",
    )
    parser.add_argument("--model", action="append", metavar="M", help="that visitors may choose; repeat it for more "
                        "(default: tiny)")  # fmt: skip
    parser.add_argument("--device", default="cpu", help='"cpu", "cuda", "mps" (default: cpu)')
    parser.add_argument("--memory", choices=MEMORY, default="normal", help="low: one network in memory at a time")
    parser.add_argument("--host", metavar="ADDRESS", help="to listen on; 0.0.0.0 is every network (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="(default: the first free one from 7860)")
    parser.add_argument("--mcp", action="store_true", help="also be a tool for language models (MCP)")
    parser.add_argument("--max-upload", type=float, default=20, metavar="MB", help="of an image (default: 20)")
    parser.add_argument("--max-queue", type=int, default=100, metavar="N", help="jobs that may wait (default: 100)")
    parser.add_argument("--keep", type=float, default=60, metavar="MIN", help="minutes until files go (default: 60)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.set_defaults(run=lambda arguments: app(arguments, parser), go_on="The app's files are deleted.")


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and SIGINT even if a shell started the app in the background, where it
    is ignored. A signal that comes when the block is ending already changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return

    def interrupt(number: int, _frame: object) -> NoReturn:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for each in before:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)


def app(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run the app until Ctrl-C or SIGTERM."""
    with _interrupted_by_signals():
        return _app(arguments, parser)


def _app(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ..app import AppSettings, serving

    try:
        settings = AppSettings(
            models=tuple(arguments.model or ("tiny",)), device=arguments.device, memory=arguments.memory,
            max_upload=int(arguments.max_upload * 1e6), max_queue=arguments.max_queue, keep=60 * arguments.keep,
        )  # fmt: skip
    except InputError as error:
        parser.error(str(error))  # exits with code 2

    hides = not arguments.mcp and "mcp" not in sys.modules
    if hides:  # gradio would load it, in a third of the time to the first page
        sys.modules["mcp"] = None  # type: ignore[assignment]
    try:
        with serving(settings, host=arguments.host, port=arguments.port, mcp=arguments.mcp) as address:
            tool = f" and, for MCP, at {address}gradio_api/mcp/" if arguments.mcp else ""
            say(f"The app answers at {address}{tool}")
            if arguments.open:
                webbrowser.open(address)
            threading.Event().wait()  # until a signal
    except (Image3DError, OSError, ImportError) as error:
        complain(str(error))
    finally:
        if hides:
            del sys.modules["mcp"]
    return FAILED
