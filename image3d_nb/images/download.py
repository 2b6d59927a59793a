"""Download an image from a URL that nobody has checked."""

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
_SIGNATURES = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|BM|II[*+]\0|MM\0[*+]|P[1-6]\s|\0\0[\1\2]\0|....ftyp|\0\0\0\x0cjP",
    re.DOTALL,
)
"""First bytes of images."""


def download_image(url: str, timeout: float, max_bytes: int, public_only: bool = False) -> bytes:
    """The bytes behind an http(s) URL.

    A separate thread fetches them, because a server that sends single bytes never reaches a socket's time-out, and
    looking up a host's name has none. The thread ends by itself, at the latest with its next byte after the deadline.

    Args:
        url: starts with http:// or https://, like each of at most five redirects.
        timeout: seconds for everything.
        max_bytes: the limit for the announced and for the received length.
        public_only: refuse every host, also of a redirect, that has a private, loopback or link-local address.

    Raises:
        DownloadError: no network, no answer in time, an error status, not an image, too large, or cut off. An image is
            recognised by its first bytes or its content type.
    """
    result: list[bytes | Exception] = []
    deadline = time.monotonic() + timeout

    def work() -> None:
        try:
            result.append(_fetch(url, timeout, deadline, max_bytes, public_only))
        except Exception as error:  # noqa: BLE001  (raised below, in the caller's thread)
            result.append(error)

    thread = threading.Thread(target=work, name="image3d_nb download", daemon=True)
    thread.start()
    thread.join(timeout)
    if not result:
        raise DownloadError(f"{url} must answer within {timeout:g} s; it did not: try again, or give timeout=")
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _fetch(url: str, timeout: float, deadline: float, max_bytes: int, public_only: bool) -> bytes:
    import requests  # takes 0.1 s, and most images are files
    from urllib3.exceptions import HTTPError
    from urllib3.exceptions import TimeoutError as SlowAnswer

    from .public_hosts import NotPublicError, public_session

    target = url
    try:
        with public_session() if public_only else requests.Session() as session:
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
    except NotPublicError as error:
        raise DownloadError(f"{url} must lead to public addresses only; {error}, which is not public") from error
    except (requests.Timeout, SlowAnswer) as error:
        raise DownloadError(
            f"{url} must answer within {timeout:g} s; it did not: try again, or give timeout="
        ) from error
    except (requests.RequestException, HTTPError, ValueError) as error:  # ValueError: the URL cannot be parsed
        reason = f"{type(error).__name__}: {str(error)[-120:]}"
        raise DownloadError(f"{url} must be reachable; it is not ({reason}): check the URL and the network") from error
    raise DownloadError(f"{url} must lead to an image in {_REDIRECTS} redirects; there are more")


def _body(answer: requests.Response, url: str, deadline: float, max_bytes: int) -> bytes:
    if answer.status_code != 200:
        raise DownloadError(f"{url} must answer 200; got {answer.status_code} {answer.reason}")
    kind = answer.headers.get("content-type", "application/octet-stream").split(";")[0].strip().lower()
    length = answer.headers.get("content-length", "")
    content = bytearray()
    if length.isdecimal() and int(length) > max_bytes:
        raise DownloadError(f"{url} must have at most {max_bytes:,} bytes; it announces {int(length):,}")
    while chunk := answer.raw.read1(1 << 16, decode_content=True):
        content += chunk
        if len(content) >= 16:
            _check_kind(content, kind, url)
        if len(content) > max_bytes:
            raise DownloadError(f"{url} must have at most {max_bytes:,} bytes; it sent more")
        if time.monotonic() > deadline:
            raise DownloadError(f"{url} must arrive in time; after {len(content):,} bytes it has not: give timeout=")
    if length.isdecimal() and not answer.headers.get("content-encoding") and len(content) < int(length):
        raise DownloadError(f"{url} must send the announced {int(length):,} bytes; it sent {len(content):,}: try again")
    _check_kind(content, kind, url)
    return bytes(content)


def _check_kind(content: bytearray, kind: str, url: str) -> None:
    """Many servers send images with another content type, so the first bytes decide where the type does not say it."""
    if not kind.startswith("image/") and not _SIGNATURES.match(content):
        raise DownloadError(f"{url} must be an image; got {kind}: use the URL of the image, not of its page")
