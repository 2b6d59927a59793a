// Draws a scene with WebGL2: surfaces and lines into the depth buffer, then the splats between and before them.

import { viewOf } from "./camera.js";
import { createStore } from "./gl.js";
import { createLinePass } from "./lines.js";
import { createSplatPass } from "./splats.js";
import { createSurfacePass, edgesOf } from "./surfaces.js";

const LINE_WIDTH = 1.5; // CSS pixels, as in image3d_nb/view/frusta.py
const EDGE_WIDTH = 1;
const EDGE_COLOUR = new Uint8Array([20, 24, 32, 200]);
const FADE = 0.5; // of the surface below the edges, so that they stand out on any colour
const DOT_RADIUS = 1.5; // CSS pixels

// null when the browser has no WebGL2. smooth: whether the edges of triangles are (splats have none).
export function createPainter(canvas, smooth) {
  // "over" an opaque background, so the page behind never shines through.
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: smooth });
  if (!gl) return null;
  const [splatPass, surfacePass, linePass] = [createSplatPass(gl), createSurfacePass(gl), createLinePass(gl)];
  const store = createStore(gl);
  let scene = null; // as in data.js, and the same on the GPU:
  let splats = null;
  let surfaces = [];
  let lines = null;
  let edges = null; // made when they are first asked for

  const uploadEdges = (surface) => linePass.upload(edgesOf(surface), EDGE_COLOUR, store);

  function drawSolids(view, look, ratio) {
    gl.enable(gl.DEPTH_TEST);
    for (const surface of surfaces) {
      surfacePass.draw(surface, view, look.light, look.wireframe && surface.lit ? FADE : 0);
    }
    if (lines) linePass.draw(lines, view, LINE_WIDTH * ratio);
    if (!look.wireframe) return;
    edges = edges || scene.surfaces.filter((surface) => surface.lit).map(uploadEdges);
    for (const own of edges) linePass.draw(own, view, EDGE_WIDTH * ratio);
  }

  return {
    setScene(next) {
      store.free();
      scene = next;
      splats = scene.rows && splatPass.upload(scene.rows, store);
      surfaces = scene.surfaces.map((surface) => surfacePass.upload(surface, store));
      lines = scene.lines && linePass.upload(scene.lines.ends, scene.lines.colours, store);
      edges = null;
    },
    setOrder: (order) => splatPass.setOrder(splats, order),
    // ratio: canvas pixels a CSS pixel. look: see viewer.js.
    draw(camera, look, ratio) {
      const { width, height } = canvas;
      const view = viewOf(camera, width, height);
      gl.viewport(0, 0, width, height);
      gl.clearColor(...look.background, 1);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.disable(gl.DEPTH_TEST);
      if (surfaces.length || lines) drawSolids(view, look, ratio);
      if (splats) splatPass.draw(splats, view, look.splatScale, look.points ? DOT_RADIUS * ratio : 0);
    },
    // Browsers keep only about 16 contexts: one that nobody needs any more must go at once.
    stop() {
      store.free();
      const memory = gl.getExtension("WEBGL_lose_context");
      if (memory) memory.loseContext();
    },
  };
}
