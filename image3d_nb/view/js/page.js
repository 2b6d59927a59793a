// Starts the viewer in a page made from page.html, where a still picture stands until the first frame is drawn,
// and stays when the browser cannot draw.

import { createViewer } from "./viewer.js";

const find = (id) => document.getElementById(id);

function toHex(rgb) {
  return "#" + rgb.map((value) => Math.round(255 * value).toString(16).padStart(2, "0")).join("");
}

function fromHex(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16) / 255);
}

function showStill(sentence) {
  document.body.classList.remove("live");
  find("message").textContent = sentence;
  find("message").hidden = false;
}

function showViewer() {
  document.body.classList.add("live");
  find("message").hidden = true;
}

function start() {
  const options = JSON.parse(find("options").textContent);
  document.body.style.backgroundColor = toHex(options.background);
  const viewer = createViewer(find("canvas"), find("splats").textContent, options, {
    turning: (isOn) => find("turn").setAttribute("aria-pressed", String(isOn)),
    touched: () => find("hint").classList.add("seen"),
    lost: (isLost) => {
      if (isLost) showStill("The browser has taken the graphics memory back; reload to turn the object again.");
      else showViewer();
    },
  });
  if (!viewer) {
    showStill("This browser has no WebGL2, so this is a still picture. Open the page in another browser to turn the object.");
    return;
  }
  find("turn").addEventListener("click", () => viewer.setTurning(!viewer.turning));
  find("reset").addEventListener("click", viewer.reset);
  find("background").value = toHex(options.background);
  find("background").addEventListener("input", ({ target }) => {
    viewer.setBackground(fromHex(target.value));
    document.body.style.backgroundColor = target.value;
  });
  window.image3dViewer = viewer; // for tests, and for the curious in the console
  viewer.ready.then(showViewer);
}

try {
  start();
} catch (error) {
  showStill(`The viewer cannot start: ${error.message}`);
  throw error;
}
