"""The arena: pairs that hide who made them, votes that nothing loses, and scores that find the truth."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import image3d_nb as i3d
from image3d_nb.arena import Arena, blind_test, read_votes, standings
from image3d_nb.arena.scores import PRIOR, fit
from image3d_nb.errors import InputError

from . import browser as harness

if TYPE_CHECKING:
    from playwright.sync_api import Page

STRENGTHS = {"rook": -0.9, "bishop": -0.3, "knight": 0.3, "queen": 0.9}


def blob(seed: int) -> i3d.Gaussians:
    """Some Gaussians around the origin, of one colour a seed."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [rng.normal(0, 0.12, (60, 3)), np.full((60, 1), 0.95), np.full((60, 3), 0.05), rng.normal(size=(60, 4)),
         np.tile(rng.random(3), (60, 1))], 1,
    )  # fmt: skip
    return i3d.Gaussians.from_lgm(torch.tensor(rows[None], dtype=torch.float32))


def arena(folder: Path, images: int = 4, **options: object) -> Arena:
    made = {name: [blob(100 * k + n) for n in range(images)] for k, name in enumerate(("rook", "queen"))}
    return blind_test(made, folder / "votes.jsonl", **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------- order and sides


def test_a_seed_gives_order_and_sides(tmp_path: Path) -> None:
    first = arena(tmp_path, 40, seed=1)
    assert first.pairs == arena(tmp_path, 40, seed=1).pairs
    assert first.pairs != arena(tmp_path, 40, seed=2).pairs
    assert sorted(pair.item for pair in first.pairs) == [f"{n:04}" for n in range(1, 41)]
    assert 10 <= sum(pair.left == "rook" for pair in first.pairs) <= 30


def test_every_two_competitors_meet_on_every_image_they_share(tmp_path: Path) -> None:
    objects = [blob(0), blob(1)]
    test = blind_test({"a": objects, "b": objects, "c": objects[:1]}, tmp_path / "votes.jsonl")
    met = {(pair.item, frozenset(pair[1:])) for pair in test.pairs}
    assert len(test.pairs) == len(met) == 4


def test_folders_of_results_are_matched_by_name(tmp_path: Path) -> None:
    for name, images in (("old", ("mug", "car")), ("new", ("mug", "tree"))):
        for k, image in enumerate(images):
            (tmp_path / name).mkdir(exist_ok=True)
            i3d.save(blob(k), tmp_path / name / f"{image}.ply")
    test = blind_test([tmp_path / "old", tmp_path / "new"], tmp_path / "votes.jsonl")
    assert [(pair.item, {pair.left, pair.right}) for pair in test.pairs] == [("mug", {"old", "new"})]
    test.save_page(tmp_path / "vote.html")  # the objects can be read


@pytest.mark.parametrize(
    ("competitors", "word"),
    [({"a": [blob(0)]}, "share"), (["nowhere", "there"], "nowhere"), ({"a": [3], "b": [4]}, "int")],
)
def test_what_cannot_be_compared_is_refused(competitors: object, word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word):
        blind_test(competitors, tmp_path / "votes.jsonl")  # type: ignore[arg-type]


# ---------------------------------------------------------------- votes


def test_votes_are_kept_and_a_second_run_goes_on(tmp_path: Path) -> None:
    test = arena(tmp_path)
    test.vote("left")
    test.vote("skip")
    again = arena(tmp_path)
    assert again.current == 2
    first, second = read_votes(test.votes)
    assert (first["left"], first["right"], first["vote"]) == (*test.pairs[0][1:], "left")
    assert second["vote"] == "skip"
    assert arena(tmp_path, voter="anna").current == 0
    with pytest.raises(InputError, match="both"):
        again.vote("both")


@pytest.mark.parametrize("kind", ["gaussians", "mesh", "files"])
def test_votes_for_other_objects_do_not_count(kind: str, tmp_path: Path) -> None:
    def objects(seed: int) -> object:
        if kind == "files":
            i3d.save(blob(seed), tmp_path / f"{'old' if seed == 0 else 'new'}" / "mug.ply")
            return tmp_path / ("old" if seed == 0 else "new")
        return [blob(seed) if kind == "gaussians" else i3d.Mesh(np.eye(3) * (seed + 1), np.array([[0, 1, 2]]))]

    for name in ("old", "new"):
        (tmp_path / name).mkdir()

    def test(seed: int) -> Arena:
        return blind_test({"old": objects(0), "new": objects(seed)}, tmp_path / "votes.jsonl")

    test(1).vote("left")
    assert test(1).current is None
    assert test(2).current == 0


VOTER = """
import sys
from pathlib import Path
from tests.test_arena import arena
test = arena(Path(sys.argv[1]), 300)
while test.current is not None:
    test.vote("right")
    print(test.current, flush=True)
"""


def test_a_kill_loses_no_vote(tmp_path: Path) -> None:
    voter = subprocess.Popen([sys.executable, "-c", VOTER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert voter.stdout is not None
    said = [voter.stdout.readline() for _ in range(20)][-1]
    voter.send_signal(signal.SIGKILL)
    said = ([said, *voter.stdout.read().split("\n")[:-1]])[-1]
    voter.wait()
    test = arena(tmp_path, 300)
    votes = read_votes(test.votes)
    assert len(votes) >= int(said) >= 20
    assert [vote["pair"] for vote in votes] == list(range(len(votes)))
    whole = test.votes.read_bytes()
    test.votes.write_bytes(whole + whole[:25])  # as a power cut leaves a line
    test.vote("tie")
    assert read_votes(test.votes)[:-1] == votes
    assert read_votes(test.votes)[-1]["vote"] == "tie"


def test_a_foreign_file_of_votes_is_refused(tmp_path: Path) -> None:
    test = arena(tmp_path)
    line = {"test": "other", "pair": 0, "vote": "left", "voter": "", "time": "now"}
    for content, word in ((json.dumps(line), "other"), ("no votes", "test"), (json.dumps(line | {"pair": 99}), "99")):
        (tmp_path / "back.jsonl").write_text(content)
        with pytest.raises(InputError, match=word):
            test.add(tmp_path / "back.jsonl")
    assert not test.votes.exists()


def test_a_second_vote_of_one_voter_is_not_dropped_without_a_word(tmp_path: Path) -> None:
    test, file = arena(tmp_path), tmp_path / "back.jsonl"
    line = {"test": test.id, "pair": 0, "vote": "left", "voter": "", "time": "10:00"}
    for content, added in (([line], 1), ([line, line | {"pair": 1}], 1)):  # saved early, and again later
        file.write_text("\n".join(map(json.dumps, content)))
        assert test.add(file) == added
    file.write_text("\n".join(map(json.dumps, [line | {"pair": 2}, line | {"vote": "right", "time": "11:00"}])))
    with pytest.raises(InputError, match="pair 0"):
        test.add(file)
    assert len(read_votes(test.votes)) == 2


def test_the_widget_takes_votes_once(tmp_path: Path) -> None:
    test = arena(tmp_path, 2)
    widget = test.widget()
    assert (widget._pair["number"], widget._pair["total"], len(widget._pair["scenes"])) == (0, 2, 2)
    names = json.dumps(widget._pair, default=lambda content: "")
    assert "rook" not in names
    assert "queen" not in names
    for _ in range(2):  # a double click
        widget._handle_custom_msg({"pair": 0, "vote": "left"}, [])
    assert [vote["vote"] for vote in read_votes(test.votes)] == ["left"]
    widget._handle_custom_msg({"pair": 1, "vote": "tie"}, [])
    assert "scenes" not in widget._pair
    assert test.current is None


@pytest.mark.browser
def test_a_page_collects_votes_by_keys_and_buttons(wide_page: Page, tmp_path: Path) -> None:
    test = arena(tmp_path)
    file = test.save_page(tmp_path / "vote.html")
    assert not any(name in file.read_text() for name in ("rook", "queen"))
    seen = harness.watch(wide_page)
    wide_page.goto(file.as_uri())

    def wait_for(text: str) -> None:
        words = f"document.querySelector('.progress').textContent.startsWith({text!r})"
        is_open = "true" if text.startswith("That") else "!document.querySelector('button.left').disabled"
        harness.wait_until(wide_page, f"{words} && {is_open}")

    wait_for("Pair 1 of 4")
    left, right = wide_page.evaluate("document.getElementById('view').arenaViewers.map((viewer) => viewer.camera)")
    assert left["azimuth"] == pytest.approx(right["azimuth"])
    harness.wait_until(wide_page, "document.getElementById('view').arenaViewers[0].camera.azimuth !== 0")  # it turns
    wide_page.keyboard.press("1")
    wait_for("Pair 2 of 4")
    wide_page.keyboard.press("2")
    wait_for("Pair 3 of 4")
    wide_page.reload()  # the browser keeps the votes
    wait_for("Pair 3 of 4")
    wide_page.click("button.tie")
    wait_for("Pair 4 of 4")
    for number in range(2):  # two that save without a name are two
        wide_page.fill(".foot input", "")
        with wide_page.expect_download() as download:
            wide_page.click("button.save")
        download.value.save_as(tmp_path / f"{number}.jsonl")
    names = {json.loads((tmp_path / f"{n}.jsonl").read_text().splitlines()[0])["voter"] for n in range(2)}
    assert len(names - {""}) == 2
    wide_page.fill(".foot input", "anna 0 1")  # digits in a name are no votes
    wait_for("Pair 4 of 4")
    wide_page.click("button.skip")
    wait_for("That was the last")
    with wide_page.expect_download() as download:
        wide_page.click("button.save")
    download.value.save_as(tmp_path / "back.jsonl")
    assert test.add(tmp_path / "back.jsonl") == 4
    assert test.add(tmp_path / "back.jsonl") == 0  # twice is once
    votes = read_votes(test.votes)
    assert [vote["vote"] for vote in votes] == ["left", "right", "tie", "skip"]
    assert [(vote["item"], vote["left"], vote["right"]) for vote in votes] == [tuple(pair) for pair in test.pairs]
    assert {vote["voter"] for vote in votes} == {"anna 0 1"}
    assert seen.strangers() == []
    assert seen.errors == []


# ---------------------------------------------------------------- scores


def simulated(seed: int, count: int, tie: float) -> list[dict[str, str]]:
    """Votes of Davidson's model with the strengths above; ``tie`` 0 gives Bradley and Terry's."""
    rng = np.random.default_rng(seed)
    names, values = list(STRENGTHS), np.array(list(STRENGTHS.values()))
    left = rng.integers(0, 4, count)
    right = (left + rng.integers(1, 4, count)) % 4
    parts = np.stack([np.exp(values[left]), np.exp(values[right]), tie * np.exp((values[left] + values[right]) / 2)])
    drawn = (rng.random(count) > (parts / parts.sum(0)).cumsum(0)).sum(0)  # [count]: 0, 1 or 2
    return [
        {"left": names[a], "right": names[b], "vote": ("left", "right", "tie")[outcome]}
        for a, b, outcome in zip(left, right, drawn, strict=True)
    ]


@pytest.mark.parametrize("tie", [0.0, 0.6])
def test_known_strengths_are_within_the_intervals(tie: float) -> None:
    held = 0  # experiments in which all four intervals hold the truth
    for seed in range(200):
        table = {row.name: row for row in standings(simulated(seed, 300, tie), seed)}
        held += all(table[name].low <= value <= table[name].high for name, value in STRENGTHS.items())
    assert held >= 186


def test_scores_are_the_most_likely_ones() -> None:
    rng = np.random.default_rng(0)
    counts = np.stack([rng.integers(0, 9, (4, 4)), np.triu(rng.integers(0, 5, (4, 4)), 1)]).astype(float)
    counts[0] *= 1 - np.eye(4)

    def loss(unknown: np.ndarray) -> float:
        total = (unknown**2).sum() / (2 * PRIOR**2)
        for i in range(4):
            for j in range(i + 1, 4):
                terms = np.array([unknown[i], unknown[j], unknown[4] + (unknown[i] + unknown[j]) / 2])
                total -= (np.array([counts[0, i, j], counts[0, j, i], counts[1, i, j]]) * terms).sum()
                total += (counts[0, i, j] + counts[0, j, i] + counts[1, i, j]) * np.logaddexp.reduce(terms)
        return float(total)

    best = minimize(loss, np.zeros(5), tol=1e-12).x[:4]
    np.testing.assert_allclose(fit(counts[None])[0], best - best.mean(), atol=1e-4)


@pytest.mark.parametrize("vote", ["left", "tie"])
def test_equal_votes_leave_doubt_that_more_votes_reduce(vote: str) -> None:
    widths = []
    for count in (1, 8, 64):
        row = standings([{"left": "a", "right": "b", "vote": vote}] * count)[0]
        assert row.low < row.score < row.high
        widths.append((row.high - row.low) / max(row.score, 1))
    assert widths[0] > widths[1] > widths[2] > 0.05


def test_standings_count_votes_and_ignore_sides_and_skips() -> None:
    votes = [
        {"left": "a", "right": "b", "vote": "left"}, {"left": "b", "right": "a", "vote": "right"},
        {"left": "b", "right": "a", "vote": "tie"}, {"left": "b", "right": "a", "vote": "skip"},
    ]  # fmt: skip
    first, second = standings(votes)
    assert (first.name, first.wins, first.losses, first.ties) == ("a", 2, 0, 1)
    assert (second.name, second.wins, second.losses, second.ties) == ("b", 0, 2, 1)
    assert first.score == pytest.approx(-second.score)
    assert np.isfinite([first.low, first.high]).all()
    for wrong in ([], [{"left": "a", "right": "b", "vote": "skip"}], [{"left": "a", "right": "a", "vote": "left"}]):
        with pytest.raises(InputError, match="vote"):
            standings(wrong)
