"""Checks of lesson 12, choosing a model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ._exercise import Exercise, array_of, call, need, of_type


def pareto(answer: Any) -> None:
    """A function (rows of seconds and quality) that gives the indices of the rows that no other row beats."""
    tables = (
        [(1.0, 20.0), (2.0, 25.0), (3.0, 24.0), (5.0, 30.0), (6.0, 30.0)],
        [(9.0, 12.0), (4.0, 15.0), (4.5, 15.5), (1.0, 11.0), (0.5, 10.0), (8.0, 15.0)],
    )
    for rows in tables:
        found = {int(i) for i in array_of(call(answer, list(rows)), "indices").ravel()}
        wanted = {
            i for i, (s, q) in enumerate(rows)
            if not any(t <= s and p >= q and (t, p) != (s, q) for t, p in rows)
        }  # fmt: skip
        fastest, best = min(range(len(rows)), key=lambda i: rows[i][0]), max(range(len(rows)), key=lambda i: rows[i][1])
        need(found != {fastest, best}, "The fastest and the best row alone are too few: rows between them count too.")
        beaten = sorted(found - wanted)
        text = f"Row {beaten[0] if beaten else 0} must not be in it: another row is as fast or faster, and better."
        need(not beaten, text)
        missing = sorted(wanted - found)
        need(not missing, f"Row {missing[0] if missing else 0} is missing: no other row is both faster and better.")


def fits(answer: Any) -> None:
    """A function (model, need) that says whether a model suits a need."""
    model = {"licence": "MIT", "memory_gb": 2.6, "gives": "mesh", "commercial": True}
    want = {"commercial": True, "memory_gb": 8.0, "gives": "mesh"}
    cases = [
        (model, want, True, "A model that has all that is needed must suit."),
        (model | {"commercial": False}, want, False, "Look at the licence: this model forbids commercial use."),
        (model | {"commercial": False}, want | {"commercial": False}, True, "Without commercial use it is allowed."),
        (model | {"memory_gb": 8.3}, want, False, "8.3 GB do not fit into 8 GB."),
        (model | {"memory_gb": 8.0}, want, True, "8.0 GB fit into 8 GB."),
        (model | {"gives": "Gaussians"}, want, False, "It must give a mesh; this model gives Gaussians."),
        (model | {"commercial": None}, want, False, "A licence that says nothing allows nothing."),
    ]  # fmt: skip
    for given, wanted, right, complaint in cases:
        found = call(answer, dict(given), dict(wanted))
        need(isinstance(found, (bool, np.bool_)), f"The function must return True or False; got {found!r}.")
        need(bool(found) is right, complaint)


def is_safe(answer: Any) -> None:
    """A function (folder) that says whether a folder of weights can be loaded without running foreign code."""
    cases = [
        (("config.json", "model.safetensors"), True, "Configurations and safetensors hold no code."),
        (("config.json", "model.bin"), False, "A .bin file is a pickle, which may hold code."),
        (("config.json", "unet/model.ckpt"), False, "Look into folders inside the folder: unet/ holds a pickle."),
        (("model.safetensors", "pipeline.py"), False, "A .py file is code."),
        (("vae/model.SAFETENSORS", "vae/weights.PTH"), False, "Suffixes may be in capitals: .PTH is a pickle."),
        (("a/b/c/vocab.txt", "a/model.safetensors", "README.md"), True, "Texts are not code."),
    ]
    for names, right, complaint in cases:
        with tempfile.TemporaryDirectory() as name:
            for each in names:
                (Path(name) / each).parent.mkdir(parents=True, exist_ok=True)
                (Path(name) / each).touch()
            found = call(answer, Path(name))
        need(isinstance(found, (bool, np.bool_)), f"The function must return True or False; got {found!r}.")
        need(bool(found) is right, complaint)


def best_within(answer: Any) -> None:
    """A function (table of name: (seconds, quality), seconds) that gives the best model within a budget."""
    table = {"a": (1.0, 20.0), "b": (4.0, 26.0), "c": (9.0, 25.0), "d": (60.0, 31.0)}
    for seconds, right in ((5.0, "b"), (100.0, "d"), (1.0, "a"), (9.0, "b")):
        found = of_type(call(answer, dict(table), seconds), str, "the name of a model")
        best = f"Within {seconds:g} s the best is {right!r}; your function says {found!r}."
        need(found in table, f"The answer must be one of the names; got {found!r}.")
        need(table[found][0] <= seconds, f"{found!r} takes {table[found][0]:g} s, and there are only {seconds:g}.")
        need(found == right, best)


EXERCISES = (
    Exercise(
        "12.1", pareto,
        ("A row is beaten if some other row is at least as fast and at least as good, and better in one of the two.",
         "any(t <= s and p >= q and (t, p) != (s, q) for t, p in rows)"),
        """\
def pareto(rows):
    def beaten(s, q):
        return any(t <= s and p >= q and (t, p) != (s, q) for t, p in rows)

    return [i for i, (s, q) in enumerate(rows) if not beaten(s, q)]""",
        "Only these are worth a discussion; of the others there is always a better choice.",
    ),
    Exercise(
        "12.2", fits,
        ("Three conditions, joined by `and`: use, memory, form. Unknown (None) is no permission.",
         'allowed = model["commercial"] is True or not need["commercial"]'),
        """\
def fits(model, need):
    allowed = model["commercial"] is True or not need["commercial"]
    return allowed and model["memory_gb"] <= need["memory_gb"] and model["gives"] == need["gives"]""",
        "Conditions that cannot be traded come before scores.",
    ),
    Exercise(
        "12.3", is_safe,
        ("Path.rglob goes through all folders inside; compare suffix.lower() with a list of what you allow or forbid.",
         'code = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py"}'),
        """\
def is_safe(folder):
    code = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py"}
    return not any(file.suffix.lower() in code for file in folder.rglob("*"))""",
        "Weights are data. A file that can run code is a program by somebody you do not know.",
    ),
    Exercise(
        "12.4", best_within,
        ("First keep the models that are fast enough, then take the best of them.",
         "max((quality, name) for name, (time, quality) in table.items() if time <= seconds)"),
        """\
def best_within(table, seconds):
    enough = [name for name, (time, _) in table.items() if time <= seconds]
    return max(enough, key=lambda name: table[name][1])""",
        "A budget is a condition, and quality decides among what is left.",
    ),
)  # fmt: skip
