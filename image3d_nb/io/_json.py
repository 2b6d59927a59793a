"""JSON that is not trusted: each value is read through :class:`Values`, whose errors name the place."""

from __future__ import annotations

import json
from typing import Any

from ..errors import FormatError

_MOST_VALUES = 500_000
"""Commas and brackets of a JSON text: each becomes a Python object of about 100 bytes. Base64 has none."""


class Values:
    """An object of the JSON, with the path to it for error messages: ``accessors[3]``."""

    def __init__(self, data: object, path: str) -> None:
        if not isinstance(data, dict):
            raise FormatError(f"{path} must be an object; got {_short(data)}")
        self.data: dict[str, Any] = data
        self.path = path

    def __contains__(self, name: str) -> bool:
        return name in self.data

    def at(self, name: str) -> str:
        """The path to a member."""
        return f"{self.path}.{name}" if self.path else name

    def integer(self, name: str, default: int | None = None, low: int = 0, high: int = 2**53) -> int:
        """A member that is a whole number in [low, high]."""
        value = self.data.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise FormatError(f"{self.at(name)} must be a whole number from {low} to {high}; got {_short(value)}")
        return value

    def index(self, name: str, count: int, of: str) -> int:
        """A member that is an index into a list of ``count`` items."""
        value = self.data.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
            raise FormatError(f"{self.at(name)} must be one of the {count} {of}; got {_short(value)}")
        return value

    def numbers(self, name: str, default: list[float] | None = None, most: int = 0, least: int = 1) -> list[float]:
        """A member that is a list of finite numbers: as many as the default has, else ``least`` to ``most``."""
        values = self.data.get(name, default)
        least, most = (least, most) if default is None else (len(default), len(default))
        # comparing finds NaN, infinity and whole numbers that no float can hold; the square of 1e30 is still finite
        if (
            not isinstance(values, list)
            or not least <= len(values) <= most
            or not all(type(v) in (int, float) and abs(v) < 1e30 for v in values)
        ):
            wanted = f"{most}" if least == most else f"{least} to {most}"
            raise FormatError(f"{self.at(name)} must be {wanted} finite numbers; got {_short(values)}")
        return [float(v) for v in values]

    def text(self, name: str, default: str | None = None) -> str:
        """A member that is a string."""
        value = self.data.get(name, default)
        if not isinstance(value, str):
            raise FormatError(f"{self.at(name)} must be a text; got {_short(value)}")
        return value

    def items(self, name: str) -> list[Any]:
        """A member that is a list; empty if it is missing."""
        value = self.data.get(name, [])
        if not isinstance(value, list):
            raise FormatError(f"{self.at(name)} must be a list; got {_short(value)}")
        return value

    def inner(self, name: str) -> Values:
        """A member that is an object; empty if it is missing."""
        return Values(self.data.get(name, {}), self.at(name))


def parse_json(text: memoryview, start: int) -> object:
    """The value of a JSON text.

    Args:
        text: UTF-8.
        start: byte of the file at which it starts, for messages.

    Raises:
        FormatError: not JSON, or too much of it.
    """
    content = bytes(text)
    values = sum(content.count(mark) for mark in (b",", b"[", b"{"))
    if values > _MOST_VALUES:
        raise FormatError(f"the JSON at byte {start} must have at most {_MOST_VALUES:,} values; got some {values:,}")
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise FormatError(f"the JSON at byte {start} must not be nested deeper than Python can follow") from error
    except ValueError as error:  # of JSON, and of UTF-8
        raise FormatError(f"the JSON at byte {start} must be whole and correct; {_short(str(error), 200)}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not valid JSON")


def _short(value: object, length: int = 60) -> str:
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**20:  # Python refuses to print very long integers
        return "a number above 10^20"
    text = value if isinstance(value, str) and length > 60 else repr(value)
    return text if len(text) <= length else text[:length] + "..."
