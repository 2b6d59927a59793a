// The viewer: camera, sorter and painter around one canvas. It draws only when something has changed,
// and not while it is scrolled out of sight.

import { axesOf, createCamera, rayThrough } from "./camera.js";
import { attachControls } from "./controls.js";
import { loadPictures, positionsOf, ROW_BYTES, unpackScene } from "./data.js";
import { createPainter } from "./draw.js";
import { pick } from "./pick.js";
import { createSorter } from "./sort.js";

const TURN_SPEED = 24; // degrees a second
const GLIDE_TIME = 250; // milliseconds to a new point of interest
const MAX_PIXEL_RATIO = 2; // sharper than that costs time that nobody sees
const LOOK = {
  background: [1, 1, 1],
  splatScale: 1, // factor of the size of all splats
  points: false, // splats as dots
  light: true, // on meshes
  wireframe: false,
  turning: false,
};

// Returns null when the browser has no WebGL2; throws when the scene makes no sense.
// options: elevation, azimuth, radius, target, fovy; what LOOK has; embedded (part of a longer page).
// press(key): what keys do that the viewer itself has no answer to; returns whether they did something.
export function createViewer(canvas, source, options = {}, press = () => false) {
  let scene = { rows: null, surfaces: [], lines: null }; // until it is unpacked
  const ratio = () => Math.min(MAX_PIXEL_RATIO, window.devicePixelRatio || 1);
  const smooth = Boolean(source.surfaces || source.lines);
  let painter = createPainter(canvas, smooth);
  if (!painter) return null;

  const camera = createCamera(options);
  const look = { ...LOOK };
  for (const name of Object.keys(LOOK)) if (options[name] !== undefined) look[name] = options[name];
  const listeners = {};
  let loaded = false; // pictures are decoded, and all is on the GPU
  let loads = 0;
  let lost = false;
  let visible = true;
  let scheduled = false;
  let lastTime = 0;
  let frames = 0;
  let glide = null; // { from, to, start }
  let told = null; // the camera that listeners know of
  let sorter = null; // only splats need one
  let order = null;
  let sortedFor = null; // direction that `order` belongs to
  let askedFor = null;
  const settled = []; // resolvers of those who wait for a picture with the right order

  const direction = () => axesOf(camera).forward;
  const same = (a, b) => a !== null && b !== null && a.every((value, i) => value === b[i]);
  const emit = (name, ...values) => (listeners[name] || []).forEach((listener) => listener(...values));
  const isSorted = () => loaded && (sorter === null || same(direction(), sortedFor));

  function cameraNow() {
    const { elevation, azimuth, radius, target } = camera;
    return { elevation, azimuth, radius, target: [...target] };
  }

  // Another scene, seen from where the camera stands.
  async function setScene(next) {
    const number = ++loads;
    const unpacked = await unpackScene(next);
    await loadPictures(unpacked);
    if (number !== loads) return; // yet another one came meanwhile
    if (sorter) sorter.stop();
    [scene, loaded, order, sortedFor, askedFor, sorter] = [unpacked, true, null, null, null, null];
    if (scene.rows) sorter = createSorter(positionsOf(scene.rows), receiveOrder);
    if (!lost) painter.setScene(scene);
    emit("scene");
    await settle();
  }

  function receiveOrder(newOrder, forward) {
    [order, sortedFor] = [newOrder, forward];
    if (lost) return;
    painter.setOrder(order);
    if (settled.length || frames === 0) drawNow();
    else invalidate();
  }

  // Zoom and pan keep the order: only the direction of view decides it.
  function sortIfTurned() {
    if (sorter && !same(direction(), askedFor)) sorter.request((askedFor = direction()));
  }

  function drawNow() {
    sortIfTurned();
    if (!loaded || lost || (sorter && order === null)) return;
    painter.draw(camera, look, ratio());
    frames += 1;
    emit("drawn", frames);
    const key = JSON.stringify(cameraNow());
    if (key !== told) emit("camera", cameraNow());
    told = key;
    if (isSorted()) settled.splice(0).forEach((resolve) => resolve());
  }

  function invalidate() {
    if (scheduled || !visible || lost) return;
    scheduled = true;
    requestAnimationFrame((time) => {
      scheduled = false;
      if (look.turning) camera.orbit(TURN_SPEED * Math.min(0.1, (time - lastTime) / 1000), 0);
      lastTime = time;
      moveOn(time);
      drawNow();
      if (look.turning || glide) invalidate();
    });
  }

  function moveOn(time) {
    if (!glide) return;
    const part = Math.min(1, Math.max(0, time - glide.start) / GLIDE_TIME);
    const eased = part * part * (3 - 2 * part);
    camera.target = glide.to.map((value, i) => glide.from[i] + eased * (value - glide.from[i]));
    if (part === 1) glide = null;
  }

  function settle() {
    moveOn(Infinity);
    return new Promise((resolve) => {
      settled.push(resolve);
      sortIfTurned();
      if (isSorted()) drawNow(); // else receiveOrder draws
    });
  }

  function setLook(changes) {
    Object.assign(look, changes);
    lastTime = performance.now();
    emit("look", { ...look });
    invalidate();
  }

  function resize() {
    const sides = [canvas.clientWidth, canvas.clientHeight];
    const [width, height] = sides.map((length) => Math.max(1, Math.round(length * ratio())));
    if (canvas.width === width && canvas.height === height) return;
    [canvas.width, canvas.height] = [width, height];
    drawNow(); // at once: a new size has emptied the canvas
  }

  function reset() {
    glide = null;
    if (look.turning) setLook({ turning: false });
    camera.reset();
    return settle();
  }

  // Turn around the point below the cursor from now on.
  function focus(x, y) {
    const ray = rayThrough(camera, x, y, canvas.clientWidth, canvas.clientHeight);
    const to = pick(scene, ray, look.splatScale);
    if (!to) return;
    glide = { from: [...camera.target], to, start: performance.now() };
    invalidate();
  }

  const keys = {
    r: reset,
    Home: reset,
    " ": () => setLook({ turning: !look.turning }),
    "[": () => setLook({ splatScale: Math.max(0, look.splatScale - 0.1) }),
    "]": () => setLook({ splatScale: Math.min(2, look.splatScale + 0.1) }),
    p: () => setLook({ points: !look.points }),
    w: () => setLook({ wireframe: !look.wireframe }),
    l: () => setLook({ light: !look.light }),
  };
  const detach = attachControls(canvas, camera, {
    changed() {
      glide = null;
      emit("touched");
      invalidate();
    },
    focus,
    press: (key) => (keys[key] ? (keys[key](), true) : press(key)),
  }, { wheelNeedsFocus: options.embedded });

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
    emit("lost", true);
  });
  canvas.addEventListener("webglcontextrestored", () => {
    painter = createPainter(canvas, smooth);
    lost = false;
    if (loaded) painter.setScene(scene);
    if (order) painter.setOrder(order);
    drawNow();
    emit("lost", false);
  });
  resize();
  sizes.observe(canvas);
  sight.observe(canvas);
  const ready = setScene(source);

  return {
    ready,
    reset,
    focus,
    setScene,
    setLook,
    // Events: scene(), drawn(frames), camera({ elevation, azimuth, radius, target }), look({ ... }), touched(),
    // lost(isLost).
    on: (name, listener) => (listeners[name] = listeners[name] || []).push(listener),
    hasSplats: () => scene.rows !== null,
    hasMesh: () => scene.surfaces.some((surface) => surface.lit),
    get count() { return scene.rows ? scene.rows.length / ROW_BYTES : 0; },
    get drawn() { return frames; },
    get look() { return { ...look }; },
    get turning() { return look.turning; },
    get camera() { return cameraNow(); },
    // Resolves when the picture with the right order is on the canvas.
    setCamera(elevation, azimuth, radius = camera.radius, target = camera.target) {
      glide = null;
      Object.assign(camera, { elevation, azimuth, radius, target: [...target] });
      return settle();
    },
    // The canvas as a PNG data URL. Read at once after drawing: WebGL forgets its picture when the task ends.
    async picture() {
      await settle();
      return canvas.toDataURL("image/png");
    },
    stop() {
      look.turning = false;
      lost = true; // nothing is drawn from here on
      detach();
      sizes.disconnect();
      sight.disconnect();
      if (sorter) sorter.stop();
      painter.stop();
    },
  };
}
