// The viewer: camera, sorter and painter around one canvas. It draws only when something has changed,
// and not while it is scrolled out of sight.

import { axesOf, createCamera } from "./camera.js";
import { attachControls } from "./controls.js";
import { positionsOf, toRows } from "./data.js";
import { createPainter } from "./draw.js";
import { createSorter } from "./sort.js";

const TURN_SPEED = 24; // degrees a second
const MAX_PIXEL_RATIO = 2; // sharper than that costs time that nobody sees

// Returns null when the browser has no WebGL2. `on` holds callbacks: drawn(frames), turning(isOn), touched(),
// lost(isLost).
export function createViewer(canvas, data, options = {}, on = {}) {
  const rows = toRows(data);
  let painter = createPainter(canvas, rows);
  if (!painter) return null;

  const camera = createCamera(options);
  const sorter = createSorter(positionsOf(rows), receiveOrder);
  let background = options.background || [1, 1, 1];
  let turning = false;
  let lost = false;
  let visible = true;
  let scheduled = false;
  let lastTime = 0;
  let frames = 0;
  let order = null;
  let sortedFor = null; // direction that `order` belongs to
  let askedFor = null;
  let settled = []; // resolvers of those who wait for a picture with the right order

  const direction = () => axesOf(camera).forward;
  const same = (a, b) => a !== null && b !== null && a.every((value, i) => value === b[i]);

  function receiveOrder(newOrder, forward) {
    [order, sortedFor] = [newOrder, forward];
    if (lost) return;
    painter.setOrder(order);
    if (settled.length || frames === 0) drawNow();
    else invalidate();
  }

  // Zoom and pan keep the order: only the direction of view decides it.
  function sortIfTurned() {
    if (!same(direction(), askedFor)) sorter.request((askedFor = direction()));
  }

  function drawNow() {
    sortIfTurned();
    if (order === null || lost) return;
    painter.draw(camera, background);
    frames += 1;
    if (on.drawn) on.drawn(frames);
    if (same(direction(), sortedFor)) settled.splice(0).forEach((resolve) => resolve());
  }

  function invalidate() {
    if (scheduled || !visible || lost) return;
    scheduled = true;
    requestAnimationFrame((time) => {
      scheduled = false;
      if (turning) camera.orbit(TURN_SPEED * Math.min(0.1, (time - lastTime) / 1000), 0);
      lastTime = time;
      drawNow();
      if (turning) invalidate();
    });
  }

  function settle() {
    return new Promise((resolve) => {
      settled.push(resolve);
      sortIfTurned();
      if (same(direction(), sortedFor)) drawNow(); // else receiveOrder draws
    });
  }

  function setTurning(isOn) {
    turning = isOn;
    lastTime = performance.now();
    if (on.turning) on.turning(isOn);
    invalidate();
  }

  function resize() {
    const ratio = Math.min(MAX_PIXEL_RATIO, window.devicePixelRatio || 1);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width === width && canvas.height === height) return;
    [canvas.width, canvas.height] = [width, height];
    drawNow(); // at once: a new size has emptied the canvas
  }

  function reset() {
    setTurning(false);
    camera.reset();
    return settle();
  }

  const detach = attachControls(canvas, camera, {
    onChange() {
      if (on.touched) on.touched();
      invalidate();
    },
    onReset: reset,
    onToggleTurn: () => setTurning(!turning),
    wheelNeedsFocus: options.embedded,
  });
  const sizes = new ResizeObserver(resize);
  const sight = new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    lastTime = performance.now();
    invalidate();
  });
  // A browser keeps about 16 WebGL contexts and takes the oldest away, so a long notebook meets this.
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault(); // without it the context is never given back
    lost = true;
    if (on.lost) on.lost(true);
  });
  canvas.addEventListener("webglcontextrestored", () => {
    painter = createPainter(canvas, rows);
    lost = false;
    if (order) painter.setOrder(order);
    drawNow();
    if (on.lost) on.lost(false);
  });
  resize();
  sizes.observe(canvas);
  sight.observe(canvas);
  const ready = settle();
  if (options.turn) setTurning(true);

  return {
    ready,
    reset,
    setTurning,
    count: rows.length / 32,
    get drawn() { return frames; },
    get turning() { return turning; },
    get camera() { return { elevation: camera.elevation, azimuth: camera.azimuth, radius: camera.radius }; },
    // Resolves when the picture with the right order is on the canvas.
    setCamera(elevation, azimuth, radius = camera.radius) {
      Object.assign(camera, { elevation, azimuth, radius });
      return settle();
    },
    setBackground(rgb) {
      background = rgb;
      invalidate();
    },
    // The canvas as a PNG data URL. Read at once after drawing: WebGL forgets its picture when the task ends.
    async picture() {
      await settle();
      return canvas.toDataURL("image/png");
    },
    stop() {
      setTurning(false);
      detach();
      sizes.disconnect();
      sight.disconnect();
      sorter.stop();
    },
  };
}
