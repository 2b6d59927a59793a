// A blind test: two objects side by side, votes by buttons and keys. A page to mail, or an anywidget.

import { mountViewer } from "./mount.js";

const CHOICES = [ // [vote, key, label]
  ["left", "1", "Left is better"],
  ["tie", "3", "Equal"],
  ["right", "2", "Right is better"],
  ["skip", "0", "Skip"],
];

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// root: an empty element. vote(choice) is called once for each pair that show() has shown.
// Returns show({ scenes, views, number, total }), which ends the test where there are no scenes; and the line below.
function mountArena(root, vote, { embedded = false } = {}) {
  const sides = ["left", "right"].map((name) => element("div", { className: `side ${name}` }));
  const progress = element("p", { className: "progress", role: "status" });
  const foot = element("div", { className: "foot" });
  const buttons = CHOICES.map(([choice, key, label]) =>
    element("button", { type: "button", className: choice, disabled: true, onclick: () => cast(choice) },
      label, " ", element("kbd", {}, key)));
  root.classList.add("arena");
  root.tabIndex = 0;
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab has meanings of its own for the digits
  root.append(progress, element("div", { className: "sides" }, ...sides),
    element("div", { className: "votes" }, ...buttons), foot);
  let mounted = null;
  let isOpen = false; // a pair is shown and has no vote yet

  function cast(choice) {
    if (!isOpen) return;
    setOpen(false);
    vote(choice);
  }
  function setOpen(value) {
    isOpen = value;
    for (const button of buttons) button.disabled = !value;
  }
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.tagName === "INPUT") return;
    const pressed = CHOICES.find(([, key]) => key === event.key);
    if (!pressed) return;
    event.preventDefault();
    event.stopPropagation();
    cast(pressed[0]);
  });

  // Both sides are seen from one direction: whoever turns one turns the other.
  function follow(from, to) {
    const { elevation, azimuth } = from.camera;
    const other = to.camera;
    if (elevation !== other.elevation || azimuth !== other.azimuth) to.setCamera(elevation, azimuth);
  }

  async function show({ scenes, views, number, total }) {
    setOpen(false);
    progress.textContent = scenes ? `Pair ${number + 1} of ${total}` : "That was the last pair. Thank you!";
    for (const side of sides) side.hidden = !scenes;
    if (!scenes) return;
    if (mounted) {
      await Promise.all(mounted.map(({ setScene }, k) => setScene(scenes[k])));
    } else {
      mounted = sides.map((side, k) => mountViewer(side, scenes[k], { ...views[k], embedded, turning: k === 0 }));
      const [left, right] = mounted.map(({ viewer }) => viewer);
      if (!left || !right) return; // no WebGL2: each side says so
      left.on("camera", () => follow(left, right));
      right.on("camera", () => follow(right, left));
      await Promise.all([left.ready, right.ready]);
      root.arenaViewers = [left, right]; // for tests, and for the curious in the console
    }
    mounted.forEach(({ viewer }, k) => {
      const { elevation, azimuth, radius, target } = views[k];
      viewer.setCamera(elevation, azimuth, radius, target);
    });
    setOpen(true);
  }
  return { show, foot };
}

// The page: votes stay in the browser's storage until they are saved as a file.
function startPage() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const scenes = read("scene");
  const { test, pairs, views } = read("options");
  const place = `image3d-arena-${test}`;
  let kept = { voter: "", votes: [] };
  try {
    kept = JSON.parse(window.localStorage.getItem(place)) || kept;
  } catch { /* the browser stores nothing for files: votes last as long as the page is open */ }
  const root = document.getElementById("view");
  const heading = root.querySelector("h1");
  root.replaceChildren(heading);
  root.classList.remove("image3d");

  function keep() {
    try {
      window.localStorage.setItem(place, JSON.stringify(kept));
    } catch { /* the same */ }
    save.textContent = `Save ${kept.votes.length} vote${kept.votes.length === 1 ? "" : "s"}`;
    save.disabled = kept.votes.length === 0;
  }
  function next() {
    const number = kept.votes.length;
    const pair = pairs[number];
    const shown = pair && { scenes: pair.map((k) => scenes[k]), views: pair.map((k) => views[k]) };
    show({ ...shown, number, total: pairs.length });
  }
  function saveFile() {
    if (!kept.voter.trim()) { // voters without a name must not be taken for one
      kept.voter = voter.value = `voter ${Math.random().toString(36).slice(2, 10)}`;
      keep();
    }
    const lines = kept.votes.map((vote) => JSON.stringify({ test, ...vote, voter: kept.voter }) + "\n");
    const url = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    element("a", { href: url, download: `votes-${test}.jsonl` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  const { show, foot } = mountArena(root, (choice) => {
    const time = new Date().toISOString();
    kept.votes.push({ pair: kept.votes.length, vote: choice, time });
    keep();
    next();
  });
  const voter = element("input", { value: kept.voter, placeholder: "Your name", maxLength: 80,
    oninput: () => { kept.voter = voter.value; keep(); } });
  const save = element("button", { type: "button", className: "save", onclick: saveFile });
  foot.append(voter, save, " and send the file back. Drag to turn; both objects turn together.");
  keep();
  next();
  root.focus();
}

function render({ model, el }) {
  const root = element("div", {});
  el.append(root);
  const { show } = mountArena(root, (vote) => model.send({ pair: model.get("_pair").number, vote }), { embedded: true });
  const update = () => show(model.get("_pair"));
  model.on("change:_pair", update);
  update();
  return () => {
    model.off("change:_pair", update);
    for (const viewer of root.arenaViewers || []) viewer.stop();
  };
}

if (document.getElementById("scene")) startPage();

export default { render };
