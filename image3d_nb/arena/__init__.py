"""Which is better? Blind comparisons of objects, two at a time, and the scores that the votes give."""

from .blind import Arena, blind_test, read_votes
from .scores import Standing, standings

__all__ = ["Arena", "Standing", "blind_test", "read_votes", "standings"]
