"""The command ``image3d``. To add a command, write a module with ``add(commands)`` and list it below.

Exit codes: 0 success, 1 at least one file failed, 2 wrong arguments, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import __version__
from ..errors import Image3DError
from . import app, batch, computer, convert, evaluate, generate, inspect, publish, view
from ._console import FAILED, STOPPED, complain

_COMMANDS = (
    generate.add, batch.add, convert.add, inspect.add, view.add, evaluate.add, app.add, publish.add,
    computer.add_doctor,
    computer.add_verify_weights,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments after ``image3d``; None takes them from the command line.

    Returns:
        The exit code.

    Raises:
        SystemExit: after ``--help`` or ``--version``, and with code 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="image3d", description="One image in, one 3D object out.")
    parser.add_argument("--version", action="version", version=f"image3d {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(commands)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        complain(f"stopped; no half-written file is left. {arguments.go_on}")
        return STOPPED
    except (Image3DError, OSError, ImportError) as error:
        complain(str(error))
        return FAILED
