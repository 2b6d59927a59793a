// Starts the viewer in a page made from page.html, where a still picture stands until the first frame is drawn,
// and stays when the browser cannot draw.

import { mountViewer } from "./mount.js";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const { viewer } = mountViewer(document.getElementById("view"), read("scene"), read("options"));
window.image3dViewer = viewer; // for tests, and for the curious in the console
