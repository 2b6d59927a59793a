"""The errors that image3d_nb raises. Each is also a built-in ValueError, OSError or RuntimeError."""

from __future__ import annotations


class Image3DError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(Image3DError, ValueError):
    """An argument is not what the function needs."""


class ImageError(InputError):
    """A picture cannot be read, or cannot be used."""


class FormatError(Image3DError, ValueError):
    """A file is damaged, or of another format than it claims."""


class DownloadError(Image3DError, OSError):
    """Something could not be fetched from the network."""


class WeightsError(Image3DError, OSError):
    """A model's folder or file is missing, damaged or not known."""


class Cancelled(Image3DError, RuntimeError):
    """The caller asked a running job to stop; nothing half-written is left."""
