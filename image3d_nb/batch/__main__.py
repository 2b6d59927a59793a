"""The program of a process that makes objects; only :mod:`image3d_nb.batch.engines` calls it."""

import sys

from .engines import serve

serve(*sys.argv[1:])
