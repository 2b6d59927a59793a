// Mouse, touch and keyboard -> orbit, pan, zoom and the viewer's actions.

const DEGREES_PER_SIDE = 180; // a drag across the shorter side is half a turn
const KEY_STEP = 5; // degrees
const PAN_STEP = 0.04; // of the shorter side

// What the panel of settings tells of it; the settings name their own keys.
export const HELP = [
  ["drag \u00b7 arrows", "turn"],
  ["wheel \u00b7 pinch \u00b7 + \u2212", "zoom"],
  ["right-drag \u00b7 two fingers \u00b7 Shift", "move"],
  ["double-click", "look there"],
  ["space", "keep turning"],
  ["R", "first view"],
  ["F", "full screen"],
  ["H", "this panel"],
];

// actions: changed() after each change of the camera, focus(x, y) in CSS pixels of the canvas, reset(), and
// press(key) for all other keys, which returns whether the key means something.
// wheelNeedsFocus: in a notebook the wheel scrolls past the viewer until the reader has clicked into it.
// Returns a function that takes all listeners away again.
export function attachControls(canvas, camera, actions, { wheelNeedsFocus = false } = {}) {
  const pointers = new Map(); // pointerId -> [x, y]
  const listeners = new AbortController();
  const on = (type, listener, options = {}) =>
    canvas.addEventListener(type, listener, { signal: listeners.signal, ...options });
  const side = () => Math.min(canvas.clientWidth, canvas.clientHeight) || 1;

  on("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });

  on("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    if (pointers.size === 2) pinch(event.pointerId, before, now);
    else if (pointers.size === 1) drag(event, (now[0] - before[0]) / side(), (now[1] - before[1]) / side());
    pointers.set(event.pointerId, now);
    actions.changed();
  });

  for (const type of ["pointerup", "pointercancel"]) on(type, (event) => pointers.delete(event.pointerId));
  on("contextmenu", (event) => event.preventDefault()); // the right button pans
  on("dblclick", (event) => actions.focus(event.offsetX, event.offsetY));
  if (wheelNeedsFocus) on("pointerleave", () => pointers.size || canvas.blur());

  function drag(event, x, y) {
    const pans = event.shiftKey || event.buttons & 6; // right or middle button
    if (pans) camera.pan(-x, y);
    else camera.orbit(-x * DEGREES_PER_SIDE, y * DEGREES_PER_SIDE);
  }

  // Two fingers: their distance zooms, their middle pans.
  function pinch(id, before, now) {
    const [, other] = [...pointers].find(([key]) => key !== id);
    const distance = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
    camera.zoom(distance(before) / distance(now));
    camera.pan((before[0] - now[0]) / 2 / side(), (now[1] - before[1]) / 2 / side());
  }

  on("wheel", (event) => {
    if (wheelNeedsFocus && document.activeElement !== canvas) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 20 : 1; // Firefox counts lines, Chromium pixels
    camera.zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY * lines)) * 0.0015));
    actions.changed();
  }, { passive: false });

  const step = (x, y) => (event) =>
    event.shiftKey ? camera.pan(PAN_STEP * x, PAN_STEP * y) : camera.orbit(KEY_STEP * x, KEY_STEP * y);
  const moves = {
    ArrowLeft: step(-1, 0),
    ArrowRight: step(1, 0),
    ArrowUp: step(0, 1),
    ArrowDown: step(0, -1),
    "+": () => camera.zoom(1 / 1.1),
    "=": () => camera.zoom(1 / 1.1), // plus without Shift
    "-": () => camera.zoom(1.1),
  };
  on("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (moves[key]) {
      moves[key](event);
      actions.changed();
    } else if (!actions.press(key)) return;
    event.preventDefault();
  });

  return () => listeners.abort();
}
