// The viewer with its buttons, settings and hint, built inside of one element: a page's, or a widget's.
// Text goes into the document as text only.

import { HELP } from "./controls.js";
import { createViewer } from "./viewer.js";

const ICONS = { // outlines in a square of 16
  turning: "M13.5 8a5.5 5.5 0 1 1-1.7-4M12.5 1v3.2H9.3",
  reset: "M2 8l6-5.5L14 8M4 7v6.5h8V7",
  fullscreen: "M2 5.5V2h3.5M10.5 2H14v3.5M14 10.5V14h-3.5M5.5 14H2v-3.5",
  more: "M2 4.5h5M11 4.5h3M9 2.5v4M2 11.5h3M9 11.5h5M7 9.5v4",
};

// An element with its properties (or attributes, where the name has a dash) and what it holds.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

function makeButton(name, title, onclick) {
  const button = make("button", { type: "button", className: name, title, onclick, "aria-label": title });
  // eslint-disable-next-line no-restricted-syntax -- the one place, and only our own outlines
  button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
  return button;
}

const toHex = (rgb) => "#" + rgb.map((value) => Math.round(255 * value).toString(16).padStart(2, "0")).join("");
const fromHex = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16) / 255);

function hintFor({ embedded = false }) {
  if (matchMedia("(pointer: coarse)").matches) return "Drag: turn \u00b7 pinch: zoom \u00b7 two fingers: move";
  if (embedded) return "Drag: turn \u00b7 click, then wheel: zoom \u00b7 H: more";
  return "Drag: turn \u00b7 wheel: zoom \u00b7 right-drag: move \u00b7 H: more";
}

// The panel of settings; each control shows what `look` says and changes it.
function makePanel(viewer) {
  const change = (name, read) => ({ target }) => viewer.setLook({ [name]: read(target) });
  const check = (name) =>
    make("input", { type: "checkbox", className: name, oninput: change(name, (box) => box.checked) });
  const background = make("input", { type: "color", className: "background",
    oninput: change("background", (input) => fromHex(input.value)) });
  const splatScale = make("input", { type: "range", className: "splatScale", min: 0, max: 2, step: 0.05,
    oninput: change("splatScale", (input) => Number(input.value)) });
  const boxes = { points: check("points"), light: check("light"), wireframe: check("wireframe") };
  const row = (kind, text, key, control) =>
    make("label", { className: kind }, make("span", {}, text, " ", make("span", { className: "faint" }, key)), control);
  // Plain elements: a notebook has a style of its own for lists of terms.
  const keys = HELP.flatMap(([key, meaning]) => [make("span", {}, key), make("span", { className: "faint" }, meaning)]);
  const panel = make("div", { className: "panel", hidden: true },
    row("", "Background", "", background),
    row("for-splats", "Splat size", "[ ]", splatScale),
    row("for-splats", "Points", "P", boxes.points),
    row("for-meshes", "Light", "L", boxes.light),
    row("for-meshes", "Wireframe", "W", boxes.wireframe),
    make("div", { className: "keys" }, ...keys));
  viewer.on("look", show);
  show(viewer.look);

  function show(look) {
    background.value = toHex(look.background);
    splatScale.value = look.splatScale;
    for (const [name, box] of Object.entries(boxes)) box.checked = look[name];
  }
  return panel;
}

// Builds everything inside `root`, which may hold an <img class="still"> for the time until the first picture, and for
// browsers that cannot draw. Returns { viewer (null without WebGL2), setScene(scene) }.
export function mountViewer(root, scene, options) {
  const label = "3D view: drag or use the arrow keys to turn";
  const canvas = make("canvas", { className: "canvas", tabIndex: 0, "role": "img", "aria-label": label });
  const message = make("p", { className: "message", hidden: true, role: "status" });
  root.classList.add("image3d");
  root.classList.toggle("embedded", Boolean(options.embedded));
  root.append(canvas, message);
  if (options.background) root.style.backgroundColor = toHex(options.background); // beside a still picture

  function say(sentence) {
    root.classList.toggle("live", sentence === null);
    message.textContent = sentence;
    message.hidden = sentence === null;
  }
  const fail = (error) => say(`The viewer cannot start: ${error.message}`);

  let viewer = null;
  try {
    viewer = createViewer(canvas, scene, options, (key) => pressed[key] !== undefined && (pressed[key](), true));
  } catch (error) {
    fail(error);
    throw error;
  }
  if (!viewer) {
    say("This browser has no WebGL2, so this is a still picture. Open the page in another browser to turn the object.");
    return { viewer, setScene() {} };
  }

  const panel = makePanel(viewer);
  const hint = make("p", { className: "hint" }, hintFor(options));
  const toggleTurning = () => viewer.setLook({ turning: !viewer.look.turning });
  const turning = makeButton("turning", "Turn on its own (space)", toggleTurning);
  const reset = makeButton("reset", "Back to the first view (R)", viewer.reset);
  const more = makeButton("more", "Settings and keys (H)", togglePanel);
  const full = makeButton("fullscreen", "Full screen (F)", toggleFullScreen);
  full.hidden = !document.fullscreenEnabled; // a frame may forbid it
  const pressed = { h: togglePanel, "?": togglePanel, f: toggleFullScreen, Escape: () => showPanel(false) };

  function showPanel(isOpen) {
    panel.hidden = !isOpen;
    more.setAttribute("aria-expanded", String(isOpen));
    hint.classList.add("seen");
  }
  function togglePanel() {
    showPanel(panel.hidden);
  }
  function toggleFullScreen() {
    if (full.hidden) return;
    if (document.fullscreenElement) document.exitFullscreen();
    else root.requestFullscreen();
  }
  function showKind() {
    root.classList.toggle("has-splats", viewer.hasSplats());
    root.classList.toggle("has-mesh", viewer.hasMesh());
  }

  root.append(make("div", { className: "tools" }, turning, reset, full, more), panel, hint);
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    showPanel(false);
    canvas.focus({ preventScroll: true });
  });
  showPanel(false);
  hint.classList.remove("seen");
  turning.setAttribute("aria-pressed", String(viewer.look.turning));
  viewer.on("look", (look) => turning.setAttribute("aria-pressed", String(look.turning)));
  viewer.on("touched", () => hint.classList.add("seen"));
  viewer.on("scene", showKind);
  viewer.on("lost", (isLost) =>
    say(isLost ? "The browser has taken the graphics memory back; reload to turn the object again." : null));
  viewer.ready.then(() => say(null), fail);
  return { viewer, setScene: (next) => viewer.setScene(next).then(() => say(null), fail) };
}
