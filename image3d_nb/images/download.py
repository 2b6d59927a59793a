"""Download an image from an untrusted address."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from ..errors import DownloadError

if TYPE_CHECKING:
    import requests

_REDIRECTS = 5
_LATE = "{} must answer within {:g} s; got no complete answer: try again, or give a larger timeout="


def download_image(url: str, timeout: float, max_bytes: int) -> bytes:
    """Return the bytes behind an http(s) URL.

    A thread downloads them: a socket's time-out never ends a server that sends one byte now and then, and looking up a
    host's name has no time-out. The thread ends at its next byte after the deadline.

    Args:
        url: starts with http:// or https://; so must every redirect. At most five redirects are followed.
        timeout: seconds for the whole download.
        max_bytes: limit on the announced length and on the bytes received.

    Raises:
        DownloadError: no network, no answer in time, an error status, another content type than an image's, too large,
            or cut off.
    """
    result: list[bytes | Exception] = []
    deadline = time.monotonic() + timeout

    def work() -> None:
        try:
            result.append(_fetch(url, timeout, deadline, max_bytes))
        except Exception as error:  # noqa: BLE001  (raised below, in the caller's thread)
            result.append(error)

    thread = threading.Thread(target=work, name="image3d_nb download", daemon=True)
    thread.start()
    thread.join(timeout)
    if not result:
        raise DownloadError(_LATE.format(url, timeout))
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _fetch(url: str, timeout: float, deadline: float, max_bytes: int) -> bytes:
    import requests  # 0.1 s to import, and most images are files
    from urllib3.exceptions import HTTPError
    from urllib3.exceptions import TimeoutError as SlowAnswer

    target = url
    try:
        with requests.Session() as session:
            for _ in range(_REDIRECTS + 1):
                answer = session.get(
                    target, stream=True, allow_redirects=False, timeout=timeout, headers={"Accept-Encoding": "identity"}
                )
                with answer:
                    if not answer.is_redirect:
                        return _body(answer, url, deadline, max_bytes)
                    target = urljoin(target, answer.headers["location"])
                if not re.match(r"https?://", target, re.IGNORECASE):
                    raise DownloadError(f"{url} must lead to http:// or https://; it leads to {target[:80]!r}")
    except (requests.Timeout, SlowAnswer) as error:
        raise DownloadError(_LATE.format(url, timeout)) from error
    except (requests.RequestException, HTTPError, ValueError) as error:  # ValueError: an address that cannot be parsed
        reason = f"{type(error).__name__}: {str(error)[-120:]}"
        raise DownloadError(
            f"{url} must be reachable; it is not ({reason}): check the address and the network"
        ) from error
    raise DownloadError(f"{url} must lead to an image within {_REDIRECTS} redirects; got more redirects")


def _body(answer: requests.Response, url: str, deadline: float, max_bytes: int) -> bytes:
    if answer.status_code != 200:
        raise DownloadError(f"{url} must answer 200; got {answer.status_code} {answer.reason}")
    kind = answer.headers.get("content-type", "application/octet-stream").split(";")[0].strip().lower()
    if not kind.startswith("image/") and kind not in ("application/octet-stream", "binary/octet-stream"):
        raise DownloadError(f"{url} must be an image; got {kind}: use the address of the image, not of its page")
    length = answer.headers.get("content-length", "")
    content = bytearray()
    if length.isdecimal() and int(length) > max_bytes:
        raise DownloadError(f"{url} must have at most {max_bytes:,} bytes; it announces {int(length):,}")
    while chunk := answer.raw.read1(1 << 16, decode_content=True):
        content += chunk
        if len(content) > max_bytes:
            raise DownloadError(f"{url} must have at most {max_bytes:,} bytes; it sent more")
        if time.monotonic() > deadline:
            raise DownloadError(f"{url} must arrive in time; got {len(content):,} bytes: give a larger timeout=")
    if length.isdecimal() and not answer.headers.get("content-encoding") and len(content) < int(length):
        raise DownloadError(f"{url} must send the {int(length):,} bytes it announces; got {len(content):,}: try again")
    return bytes(content)
