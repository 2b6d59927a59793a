"""``python -m image3d_nb`` is the command ``image3d``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
