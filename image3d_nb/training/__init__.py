"""The tiny model: procedural objects, and the two stages that learn from them. ``python -m image3d_nb.training``."""
