"""Which faces, edges and corners of a mesh belong together. Arrays only.

Shapes: F faces, E different edges; side 3 f + k of face f runs from its corner k to its corner k + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Topology:
    """The neighbourhoods of faces [F, 3] without repeated corners, over vertices that share no place.

    Attributes:
        faces: [F, 3].
        edge: [3 F], the edge that each side lies on.
        counts: [E], how many sides lie on each edge.
        forward: [3 F], whether a side runs from the smaller index to the larger.
    """

    faces: Ints
    edge: Ints
    counts: Ints
    forward: Bools

    @staticmethod
    def of(faces: Ints) -> Topology:
        """Of faces [F, 3]."""
        start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)  # [3 F]
        low, high = np.minimum(start, end), np.maximum(start, end)
        key = low.astype(np.int64) * (int(faces.max(initial=0)) + 1) + high
        _, edge, counts = np.unique(key, return_inverse=True, return_counts=True)
        return Topology(faces, edge.reshape(-1), counts, start < end)

    @cached_property
    def pairs(self) -> tuple[Ints, Ints]:
        """Sides that lie on one edge, each with the first of them: two arrays of sides."""
        order = np.argsort(self.edge, kind="stable")
        first = order[np.concatenate([[0], np.cumsum(self.counts)[:-1]])] if len(order) else order  # [E]
        others = np.setdiff1d(order, first, assume_unique=True)
        return first[self.edge[others]], others

    @cached_property
    def alike(self) -> Bools:
        """For each of the pairs, whether both sides run the same way: their faces are wound against each other."""
        one, other = self.pairs
        return self.forward[one] == self.forward[other]

    @cached_property
    def balanced(self) -> Bools:
        """[E], whether as many sides run forward as back: so where two faces meet that are wound consistently."""
        return np.bincount(self.edge, np.where(self.forward, 1, -1), len(self.counts)) == 0

    @cached_property
    def shell(self) -> Ints:
        """[F], which connected piece of the surface each face is in; pieces that share only a vertex are two."""
        one, other = self.pairs
        return _components(len(self.faces), one // 3, other // 3)

    @cached_property
    def fan(self) -> Ints:
        """[3 F], of the corners: those of one vertex, in faces connected around it, have one number."""
        one, other = self.pairs
        meets_start = np.where(self.alike, other, _end(other))  # the other's corner where the one begins
        meets_end = np.where(self.alike, _end(other), other)
        corners, partners = np.concatenate([one, _end(one)]), np.concatenate([meets_start, meets_end])
        return _components(3 * len(self.faces), corners, partners)

    @cached_property
    def two_sided(self) -> Bools:
        """[F], whether the shell of each face can be wound consistently (not so a Moebius strip).

        Each face has two copies, one for each way round; copies that agree along an edge are connected. If both copies
        of a face end up in one piece, there is a way round the shell that comes back reversed. Edges of more than two
        faces are left out: which of them go on into which is open there.
        """
        count = len(self.faces)
        plain = self.counts[self.edge[self.pairs[0]]] == 2
        one, other = (side[plain] // 3 for side in self.pairs)
        across = np.where(self.alike[plain], count, 0)
        starts = np.concatenate([one, one + count])
        ends = np.concatenate([other + across, other + count - across])
        piece = _components(2 * count, starts, ends)
        twisted = piece[:count] == piece[count:]
        return ~np.isin(self.shell, self.shell[twisted])


def _end(side: Ints) -> Ints:
    """The corner at the end of a side; the one at its start has the side's own number."""
    return side - side % 3 + (side % 3 + 1) % 3


def _components(count: int, one: Ints, other: Ints) -> Ints:
    """[count], the number of the connected piece of each of the nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    labels: Ints = connected_components(graph, directed=False)[1]
    return labels
