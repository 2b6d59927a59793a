"""How long until Gaussians can be seen, and how fast they are sorted? In headless Chromium, all in one run.

    python benchmarks/viewer.py [--repeat 5]

First picture: from the call of `show` to the first sorted picture on the canvas, in software WebGL (a real GPU is
faster). Sort: the viewer's worker, from the request to the order's arrival, against Array.prototype.sort of indices by
depth with a comparator, in the same page. Target: >= 5x at 65,536 and at 1,000,000.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from image3d_nb.gaussians import Gaussians
from image3d_nb.view import mimebundle
from image3d_nb.view.page import viewer_script
from tests.browser import launch, wait_until

SIZE = 512  # pixels
COUNTS = (4_096, 16_384)
SORTED = (65_536, 1_000_000)

SORT = """async ([count, repeat]) => {
  const positions = Float32Array.from({ length: 3 * count }, () => Math.random() - 0.5);
  const forward = [0.48, 0.6, 0.64];
  let arrived;
  const sorter = createSorter(positions, (order) => arrived(order));
  const byWorker = () => new Promise((resolve) => { arrived = resolve; sorter.request([...forward]); });
  const bySort = () => {
    const depth = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      depth[i] = positions[3 * i] * forward[0] + positions[3 * i + 1] * forward[1] + positions[3 * i + 2] * forward[2];
    }
    return Array.from({ length: count }, (_, i) => i).sort((a, b) => depth[b] - depth[a]);
  };
  const [mine, theirs] = [await byWorker(), bySort()]; // warm, and equal but for ties
  const depth = (i) => Math.fround(positions[3 * i] * forward[0] + positions[3 * i + 1] * forward[1]
    + positions[3 * i + 2] * forward[2]);
  if (theirs.some((index, k) => depth(index) !== depth(mine[k]))) throw new Error("the two orders differ");
  const times = { worker: [], sort: [] };
  for (let i = 0; i < repeat; i++) {
    let start = performance.now();
    await byWorker();
    times.worker.push(performance.now() - start);
    start = performance.now();
    bySort();
    times.sort.push(performance.now() - start);
  }
  return times;
}"""


def shell(n: int) -> Gaussians:
    """n small discs on an ellipsoid, as LGM makes them."""
    g = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1)  # [N, 3]
    quats = torch.stack((1 + normals[:, 2], -normals[:, 1], normals[:, 0], torch.zeros(n)), -1)  # z onto the normal
    scales = (4 * torch.pi * 0.16 / n) ** 0.5 * torch.tensor([0.8, 0.8, 0.2]) * torch.exp(0.4 * torch.randn(n, 3))
    opacities = 0.5 + 0.5 * torch.rand(n, generator=g)
    fields = (normals * torch.tensor([0.5, 0.4, 0.3]), opacities[:, None], scales, quats, 0.5 + 0.5 * normals)
    return Gaussians.from_lgm(torch.cat(fields, -1))


def by_show(page: Page, folder: Path, gaussians: Gaussians) -> tuple[float, float]:
    """Seconds that `show` takes in Python, and seconds from there to the first picture in its iframe."""
    start = time.perf_counter()
    bundle = mimebundle(gaussians, size=SIZE)
    made = time.perf_counter()
    path = folder / "notebook.html"
    path.write_text(f"<!DOCTYPE html><body>{bundle['text/html']}", "utf-8")
    page.goto(path.as_uri())
    element = page.query_selector("iframe")
    frame = element and element.content_frame()
    assert frame is not None
    wait_until(frame, "window.image3dViewer !== undefined")  # to 50 ms
    frame.evaluate("image3dViewer.ready")
    return made - start, time.perf_counter() - made


# Ways to a first picture, compared in one run: name -> function of a page, a folder and Gaussians.
PATHS: dict[str, Callable[[Page, Path, Gaussians], tuple[float, float]]] = {"show": by_show}


def first_pictures(page: Page, folder: Path, repeat: int) -> None:
    print(f"{'first picture':24}{'Python':>10}{'browser':>10}{'in all':>10}")
    for count in COUNTS:
        gaussians = shell(count)
        for name, path in PATHS.items():
            path(page, folder, gaussians)  # compiles and fills caches
            runs = [path(page, folder, gaussians) for _ in range(repeat)]
            python, browser = (statistics.median(times) for times in zip(*runs, strict=True))
            print(f"{f'{name}, {count:,}':24}{python:8.2f} s{browser:8.2f} s{python + browser:8.2f} s")


def sorts(page: Page, folder: Path, repeat: int) -> bool:
    script = viewer_script().partition("\n// Starts the viewer in a page")[0]
    path = folder / "sort.html"
    path.write_text(
        f"<!DOCTYPE html><script type=module>{script}\nwindow.createSorter = createSorter</script>", "utf-8"
    )
    page.goto(path.as_uri())
    print(f"{'sort':24}{'worker':>10}{'sort()':>10}{'faster':>10}")
    met = True
    for count in SORTED:
        times = page.evaluate(SORT, [count, repeat])
        worker, usual = (statistics.median(times[name]) for name in ("worker", "sort"))
        print(f"{f'{count:,}':24}{worker:7.1f} ms{usual:7.1f} ms{usual / worker:9.1f}x")
        met = met and usual >= 5 * worker
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": SIZE, "height": SIZE})
        print(f"Chromium {browser.version}, software WebGL, {SIZE} x {SIZE} pixels")
        first_pictures(page, Path(name), repeat)
        met = sorts(page, Path(name), repeat)
        browser.close()
    if not met:
        raise SystemExit("the sort misses its target of 5x")


if __name__ == "__main__":
    main()
