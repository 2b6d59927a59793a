// The viewer as an anywidget: what a reader does in it reaches the traits in Python, and the other way round.

import { mountViewer } from "./mount.js";

const CAMERA = ["elevation", "azimuth", "radius", "target"];
const LOOK_OF_TRAIT = { // trait in Python -> name in the viewer's look
  background: "background",
  splat_scale: "splatScale",
  points: "points",
  light: "light",
  wireframe: "wireframe",
  turning: "turning",
};
const PAUSE = 100; // milliseconds between two messages to the kernel while the camera moves
const LONG_PAUSE = 500; // while it turns on its own

function render({ model, el }) {
  const traits = Object.keys(LOOK_OF_TRAIT).filter((name) => model.get(name) !== undefined);
  const listened = []; // [event, callback]
  const root = document.createElement("div");
  el.append(root);
  resize();
  const still = document.createElement("img");
  still.className = "still";
  root.append(still);
  showStill();

  const options = { fovy: model.get("fovy"), embedded: true };
  for (const name of CAMERA) options[name] = model.get(name);
  for (const name of traits) options[LOOK_OF_TRAIT[name]] = model.get(name);
  const { viewer, setScene } = mountViewer(root, model.get("_scene"), options);
  // JupyterLab would take keys such as L and X for its own; it looks at the element that has the focus.
  for (const element of root.querySelectorAll("canvas, button, input")) element.dataset.lmSuppressShortcuts = "true";
  root.image3dViewer = viewer; // for tests, and for the curious in the console
  listen("size", resize);
  listen("_still", showStill);
  if (!viewer) return stopListening;

  let timer = null;
  const equal = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  // The browser's side to Python. Values that Python knows are not sent back: that would go on for ever.
  function save(values) {
    const news = Object.entries(values).filter(([name, value]) => !equal(value, model.get(name)));
    if (news.length === 0) return;
    for (const [name, value] of news) model.set(name, value);
    model.save_changes();
  }
  function saveCamera() {
    timer = null;
    save(viewer.camera);
  }
  viewer.on("camera", () => {
    if (timer === null) timer = setTimeout(saveCamera, viewer.look.turning ? LONG_PAUSE : PAUSE);
  });
  viewer.on("look", (look) => save(Object.fromEntries(traits.map((name) => [name, look[LOOK_OF_TRAIT[name]]]))));

  // Python's side to the browser.
  for (const name of CAMERA) listen(name, applyCamera);
  function applyCamera() {
    const wanted = Object.fromEntries(CAMERA.map((name) => [name, model.get(name)]));
    if (equal(wanted, viewer.camera)) return;
    clearTimeout(timer);
    timer = null;
    viewer.setCamera(wanted.elevation, wanted.azimuth, wanted.radius, wanted.target);
  }
  for (const name of traits) {
    listen(name, () => {
      const [own, value] = [LOOK_OF_TRAIT[name], model.get(name)];
      if (!equal(viewer.look[own], value)) viewer.setLook({ [own]: value });
    });
  }
  listen("_scene", () => setScene(model.get("_scene")));

  return () => {
    clearTimeout(timer);
    stopListening();
    viewer.stop();
  };

  function listen(name, callback) {
    listened.push([`change:${name}`, callback]);
    model.on(`change:${name}`, callback);
  }
  function stopListening() {
    for (const [event, callback] of listened) model.off(event, callback);
  }
  function resize() {
    root.style.width = root.style.height = `${model.get("size")}px`;
  }
  function showStill() {
    const png = model.get("_still");
    if (!png || png.byteLength === 0) return;
    still.src = URL.createObjectURL(new Blob([png], { type: "image/png" }));
  }
}

export default { render };
