"""The errors that image3d_nb raises. Each is also a built-in ValueError, OSError or RuntimeError."""

from __future__ import annotations

from collections.abc import Callable


class Image3DError(Exception):
    """Base class of the errors of this package."""


class InputError(Image3DError, ValueError):
    """An argument is not what the function needs."""


class ImageError(InputError):
    """An image cannot be read, or cannot be used."""


class FormatError(Image3DError, ValueError):
    """A file is damaged, or its format is another than its name says, or is unknown."""


class DownloadError(Image3DError, OSError):
    """A download failed."""


class WeightsError(Image3DError, OSError):
    """A model's folder or file is missing, damaged or unknown."""


class Cancelled(Image3DError, RuntimeError):
    """The caller asked a running job to stop; nothing half-written is left."""


def raise_if(cancelled: Callable[[], bool] | None, what: str) -> None:
    """Raise :class:`Cancelled` if the caller's ``cancelled`` returns True.

    Args:
        cancelled: the caller's function; None never cancels.
        what: the start of the message, "convert".
    """
    if cancelled is not None and cancelled():
        raise Cancelled(f"{what} was cancelled; nothing has been written")
