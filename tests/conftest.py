"""What every test shares: no network, no progress bars, one loaded model, and the slow files first."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

# Before torch and the hub's client are imported: they read these once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # one worker a core: a second thread each would only get in the other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image
    from playwright.sync_api import Browser, Page, Playwright

    from image3d_nb.pipelines.lgm import LGMFullPipeline
    from image3d_nb.studio import Studio

SLOW_FIRST = (
    "test_browser_lab.py", "test_studio_browser.py", "test_panels_browser.py", "test_browser.py",
    "test_browser_objects.py", "test_project.py", ".ipynb", "test_notebooks.py", "test_cli.py", "test_generate.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first, so that two workers end at about the same time."""

    def rank(item: pytest.Item) -> int:
        name = item.path.name
        return next((k for k, ending in enumerate(SLOW_FIRST) if name.endswith(ending)), len(SLOW_FIRST))

    items.sort(key=rank)  # a stable sort: within a file the order stays


def _is_here(host: Any) -> bool:
    """Whether a host is this machine: a loopback address, its name, or no name at all (a socket that listens)."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse(host: Any) -> None:
    # Not an OSError: code that answers a failed connection must not be able to hide that it tried one.
    raise RuntimeError(f"tests may connect only to this machine; something asked for {host!r}")


@pytest.fixture(scope="session", autouse=True)
def only_this_machine() -> Iterator[None]:
    """Let no test connect to, or look up, anything but loopback. Names under .invalid fail as a resolver fails them."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(connection: socket.socket, address: Any) -> None:
        if connection.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            _refuse(address[0])

    def guarded_connect(connection: socket.socket, address: Any) -> None:
        check(connection, address)
        connect(connection, address)

    def guarded_connect_ex(connection: socket.socket, address: Any) -> int:
        check(connection, address)
        return connect_ex(connection, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(host, str) and host.endswith(".invalid"):  # RFC 2606: never exists
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if not _is_here(host) and host != socket.gethostname():
            _refuse(host)
        return getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(scope="session")
def tiny_pipe() -> LGMFullPipeline:
    """The bundled model, loaded once a session. Tests must not change it."""
    import image3d_nb

    return image3d_nb.load_pipeline()


@pytest.fixture(scope="session")
def ball() -> Image.Image:
    """A shaded ball on white, 96 x 96 pixels."""
    from PIL import Image

    from .test_parity import synthetic_ball

    return Image.fromarray(synthetic_ball(96))


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """A studio with one run of the mug. Tests may make files of it, and must not run it again."""
    import image3d_nb

    studio = image3d_nb.studio(tmp_path_factory.mktemp("studio") / "deep" / "runs")
    studio.run(seed=3)
    studio.wait()
    return studio


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A studio without a run."""
    import image3d_nb

    return image3d_nb.studio(tmp_path / "runs")


@pytest.fixture
def notebook_shell() -> Iterator[None]:
    """The shell that a notebook's kernel runs cells in."""
    from ipykernel.zmqshell import ZMQInteractiveShell

    ZMQInteractiveShell.instance()
    yield
    ZMQInteractiveShell.clear_instance()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright, which has an event loop of its own: no longer than a file needs it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium, headless."""
    from tests import browser as harness

    running = harness.launch(playwright)
    yield running
    running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of 256 x 256 pixels."""
    context = browser.new_context(viewport={"width": 256, "height": 256})
    yield context.new_page()
    context.close()


@pytest.fixture
def wide_page(browser: Browser) -> Iterator[Page]:
    """An empty page as large as a small screen."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    yield context.new_page()
    context.close()
