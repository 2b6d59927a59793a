// Mouse, touch and keyboard -> orbit, pan and zoom. onChange() is called after each change of the camera.

const DEGREES_PER_SIDE = 180; // a drag across the shorter side is half a turn
const KEY_STEP = 5; // degrees

// wheelNeedsFocus: in a notebook the wheel scrolls past the viewer until the reader has clicked into it.
// Returns a function that takes all listeners away again.
export function attachControls(canvas, camera, { onChange, onReset, onToggleTurn, wheelNeedsFocus = false }) {
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
    onChange();
  });

  for (const type of ["pointerup", "pointercancel"]) on(type, (event) => pointers.delete(event.pointerId));
  on("contextmenu", (event) => event.preventDefault()); // the right button pans
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
    onChange();
  }, { passive: false });

  const keys = {
    ArrowLeft: () => camera.orbit(-KEY_STEP, 0),
    ArrowRight: () => camera.orbit(KEY_STEP, 0),
    ArrowUp: () => camera.orbit(0, KEY_STEP),
    ArrowDown: () => camera.orbit(0, -KEY_STEP),
    "+": () => camera.zoom(1 / 1.1),
    "=": () => camera.zoom(1 / 1.1), // plus without Shift
    "-": () => camera.zoom(1.1),
    r: onReset,
    Home: onReset,
    " ": onToggleTurn,
  };
  on("keydown", (event) => {
    const action = keys[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
    onChange();
  });

  return () => listeners.abort();
}
