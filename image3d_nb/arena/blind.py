"""A blind test: pairs in a random order with random sides, a widget and a page that show them, a file of votes."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from torch import Tensor

from .._files import atomic_write
from .._optional import require
from ..errors import InputError
from ..evaluation import Files, by_name, results_in
from ..gaussians import Gaussians
from ..mesh import Mesh
from ..record import description
from ..view.packing import page_json
from ..view.page import SOURCES, page_policy, viewer_script, viewer_style
from ..view.scene import Scene, frame, make_scene, payload
from .scores import CHOICES, Standing, standings

Item: TypeAlias = Files | Gaussians | Mesh
Vote: TypeAlias = dict[str, Any]


class Pair(NamedTuple):
    """Two competitors' objects of one image."""

    item: str
    left: str
    right: str


def blind_test(
    competitors: Mapping[str, Any] | Sequence[str | os.PathLike[str]],
    votes: str | os.PathLike[str] = "votes.jsonl",
    *,
    seed: int = 0,
    voter: str = "",
) -> Arena:
    """Compare objects of the same images, two at a time, without knowing who made which.

    In a notebook the arena shows itself as its cell's last line: drag to turn, vote by the buttons or the keys 1
    (left), 2 (right), 3 (equal) and 0 (skip). :meth:`Arena.save_page` writes a page to mail, :meth:`Arena.add` takes
    the file that it hands back, :meth:`Arena.standings` ranks.

    Args:
        competitors: two or more. Name -> a folder of results of ``image3d generate`` or ``batch``, or a sequence of
            results, Gaussians or meshes, one an image in the same order; or folders alone, whose names then count.
        votes: a file that is only appended to; each vote is on the disk before the next pair is shown.
        seed: of order and sides, 0 or more.
        voter: who votes here; written beside each vote.

    Raises:
        InputError: fewer than two competitors, no image that two of them share, or a folder that is missing or has
            several objects of one name.

    Example:
        >>> arena = blind_test({"before": "out-1", "after": "out-2"})  # doctest: +SKIP
        >>> arena.save_page("vote.html")  # doctest: +SKIP
    """
    if not isinstance(competitors, Mapping):
        folders = [Path(folder).expanduser() for folder in competitors]
        competitors = {folder.name: folder for folder in folders}
        if len(competitors) < len(folders):
            raise InputError(f"competitors must have names of their own; got {[str(folder) for folder in folders]}")
    items = {str(name): by_name(_items(name, source), name) for name, source in competitors.items()}
    pairs = [
        Pair(item, *two)
        for two in itertools.combinations(items, 2)
        for item in sorted(set(items[two[0]]) & set(items[two[1]]))
    ]
    if not pairs:
        raise InputError(f"two competitors must share at least one image; got {', '.join(items) or 'none'}")
    rng = np.random.default_rng(seed)
    shuffled = [pairs[k] for k in rng.permutation(len(pairs))]
    sides = rng.random(len(pairs)) < 0.5
    turned = [Pair(p.item, p.right, p.left) if swap else p for p, swap in zip(shuffled, sides, strict=True)]
    return Arena(items, turned, Path(votes).expanduser(), voter)


def _items(name: str, source: Any) -> Iterator[tuple[str, Item]]:
    if isinstance(source, str | os.PathLike):
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise InputError(f"a competitor must be a folder of results, or objects; {name} is {str(source)!r}")
        yield from results_in(folder)
        return
    for number, each in enumerate(source, 1):
        obj = getattr(each, "gaussians", each)
        if not isinstance(obj, Gaussians | Mesh):
            raise InputError(f"a competitor's objects must be results, Gaussians or meshes; got {type(obj).__name__}")
        yield f"{number:04}", obj


def _digest(obj: Item) -> str:
    """A hash of what is shown: of the file, or of all arrays."""
    if isinstance(obj, Files):
        file = obj.splats or obj.mesh
        return "" if file is None else str(description(file)["sha256"])
    arrays = {name: value for name, value in vars(obj).items() if isinstance(value, np.ndarray | Tensor)}
    digest = hashlib.sha256()
    for name, value in arrays.items():
        array = value.detach().cpu().float().numpy() if isinstance(value, Tensor) else value
        digest.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.hexdigest()


class Arena:
    """A blind test in progress; see :func:`blind_test`.

    Attributes:
        pairs: all pairs in their order.
        votes: the file of votes.
        id: of this test, of its pairs and of what the objects hold: votes for another one do not count.
    """

    def __init__(self, items: dict[str, dict[str, Item]], pairs: list[Pair], votes: Path, voter: str) -> None:
        self._items, self.pairs, self.votes, self.voter = items, pairs, votes, voter
        content = {name: {item: _digest(obj) for item, obj in objects.items()} for name, objects in items.items()}
        self.id = hashlib.sha256(json.dumps([pairs, content]).encode()).hexdigest()[:16]
        if not votes.parent.is_dir():
            raise InputError(f"votes must be a file in a folder that exists; got {votes}")

    def __repr__(self) -> str:
        return f"Arena({len(self.pairs)} pairs, {len(self._mine())} voted)"

    @property
    def current(self) -> int | None:
        """Number of the next pair that this voter has not seen, from 0; None after the last one."""
        mine = self._mine()
        return next((number for number in range(len(self.pairs)) if number not in mine), None)

    def vote(self, choice: str) -> None:
        """Vote on the current pair: "left", "right", "tie" or "skip".

        Raises:
            InputError: another choice, or there is no pair left.
        """
        if self.current is None:
            raise InputError("there must be a pair left to vote on; all have been voted on")
        self._append([self._vote(self.current, choice, self.voter)])

    def add(self, file: str | os.PathLike[str]) -> int:
        """Append the votes of a file that a page handed back; those that are there already are left out.

        Returns:
            How many were added.

        Raises:
            InputError: the file is of another test, is not such a file, or has a voter's second vote on a pair, as
                from two voters of one name; nothing is added.
        """
        known = {(vote["voter"], vote["pair"]): vote for vote in self._all()}
        new = []
        for line in Path(file).expanduser().read_text(encoding="utf-8").splitlines():
            try:
                vote = json.loads(line)
                made = self._vote(vote["pair"], vote["vote"], str(vote["voter"]), str(vote["time"]))
                test = vote["test"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"a file of votes must have test, pair, vote, voter, time a line; {error!r}"
                ) from error
            if test != self.id:
                raise InputError(f"the votes must be of this test, {self.id}; got {test}")
            first = known.setdefault((made["voter"], made["pair"]), made)
            if first is made:
                new.append(made)
            elif (first["vote"], first["time"]) != (made["vote"], made["time"]):
                raise InputError(
                    f"a voter must vote once on a pair; {made['voter']!r} has two votes on pair {made['pair']}: if they"
                    f" are of two people, give those in {file} another voter"
                )
        self._append(new)
        return len(new)

    def standings(self) -> list[Standing]:
        """The competitors, the best first; see :func:`image3d_nb.arena.standings`."""
        return standings(self._all())

    def save_page(self, path: str | os.PathLike[str], *, title: str = "Which is better?") -> Path:
        """Write a page that collects votes without a network and hands back a file for :meth:`add`.

        It names no competitor. Votes are kept in the browser until they are saved.

        Raises:
            InputError: the name does not end in .html.
        """
        target = Path(path).expanduser()
        if target.suffix.lower() != ".html":
            raise InputError(f"the name of a page must end in .html; got {target.name!r}")
        places: dict[tuple[str, str], int] = {}
        pairs = [
            [places.setdefault((who, pair.item), len(places)) for who in (pair.left, pair.right)] for pair in self.pairs
        ]
        scenes = [self._scene(who, item) for who, item in places]
        script, style = viewer_script("arena"), viewer_style() + _style()
        page = Template((SOURCES / "page.html").read_text("utf-8")).substitute(
            title=html.escape(title), policy=page_policy(script, style), kind="arena", style=style, script=script,
            options=json.dumps({"test": self.id, "pairs": pairs, "views": [_view(scene) for scene in scenes]}),
            scene="[" + ",".join(page_json(payload(scene)) for scene in scenes) + "]", still="",
        )  # fmt: skip
        atomic_write({target: page.encode()})
        return target

    def _scene(self, who: str, item: str) -> Scene:
        obj = self._items[who][item]
        return make_scene(obj.load() if isinstance(obj, Files) else obj, "a blind test")

    def _vote(self, number: Any, choice: Any, voter: str, time: str | None = None) -> Vote:
        if choice not in CHOICES:
            raise InputError(f"a vote must be one of {', '.join(CHOICES)}; got {choice!r}")
        if not isinstance(number, int) or not 0 <= number < len(self.pairs):
            raise InputError(f"a pair must have a number from 0 to {len(self.pairs) - 1}; got {number!r}")
        now = time or datetime.now(UTC).isoformat(timespec="seconds")
        rest = self.pairs[number]._asdict()
        return {"test": self.id, "pair": number, **rest, "vote": choice, "voter": voter, "time": now}

    def _append(self, votes: list[Vote]) -> None:
        """Write whole lines and wait for the disk. A line that a crash cut off is ended first, and never read."""
        cut = self.votes.exists() and self.votes.stat().st_size and not self.votes.read_bytes().endswith(b"\n")
        lines = "".join(json.dumps(vote, ensure_ascii=False) + "\n" for vote in votes)
        with self.votes.open("ab") as stream:
            stream.write((b"\n" if cut else b"") + lines.encode())
            stream.flush()
            os.fsync(stream.fileno())

    def _all(self) -> list[Vote]:
        return [vote for vote in read_votes(self.votes) if vote["test"] == self.id]

    def _mine(self) -> set[int]:
        return {vote["pair"] for vote in self._all() if vote["voter"] == self.voter}

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget()._repr_mimebundle_(**options)

    def widget(self) -> Any:
        """The widget of this test; it needs ``pip install "image3d-nb[notebook]"``."""
        anywidget = require("anywidget", extra="notebook", who="image3d_nb.blind_test")
        traitlets = require("traitlets", extra="notebook", who="image3d_nb.blind_test")

        def state() -> dict[str, Any]:
            number = self.current
            if number is None:
                return {"number": len(self.pairs), "total": len(self.pairs)}
            pair = self.pairs[number]
            scenes = [self._scene(who, pair.item) for who in (pair.left, pair.right)]
            views = [_view(scene) for scene in scenes]
            return {"number": number, "total": len(self.pairs), "scenes": list(map(payload, scenes)), "views": views}

        class Widget(anywidget.AnyWidget):  # type: ignore[name-defined]
            _esm = viewer_script("arena")
            _css = viewer_style(page=False) + _style()
            _pair = traitlets.Dict().tag(sync=True)

        widget = Widget(_pair=state())

        def receive(_widget: Any, message: Any, _buffers: Any) -> None:
            if message.get("pair") == self.current:  # a second click before the next pair is here
                self.vote(message["vote"])
            widget._pair = state()

        widget.on_msg(receive)
        return widget


def read_votes(file: str | os.PathLike[str]) -> list[Vote]:
    """All votes in a file, of any test; none if there is no file. A line that a crash cut off is left out."""
    path = Path(file).expanduser()
    votes = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            votes.append(json.loads(line))
        except ValueError:  # cut off
            continue
    return votes


def _style() -> str:
    return (SOURCES / "arena.css").read_text("utf-8")


def _view(scene: Scene) -> dict[str, Any]:
    return dataclasses.asdict(frame(scene, 15.0, 0.0, None))
