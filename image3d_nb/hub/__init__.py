"""From a model's name to a folder of weights: bundled, local, or fetched from the hub and checked."""
