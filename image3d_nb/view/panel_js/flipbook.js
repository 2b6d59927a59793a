// A flip book: one of several pictures of equal size, chosen by the trait `frame`. Dragging sideways turns the pages.
// Everything is here already, so that a play bar linked to `frame` in the browser needs no kernel.

async function render({ model, el }) {
  const blobs = model.get("pictures").map((bytes) => new Blob([bytes]));
  const pictures = await Promise.all(blobs.map((blob) => createImageBitmap(blob)));
  const canvas = document.createElement("canvas");
  canvas.className = "image3d-flipbook";
  canvas.width = pictures[0].width;
  canvas.height = pictures[0].height;
  canvas.style.width = `${model.get("width")}px`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", model.get("label")); // an attribute is text, whatever it holds
  const pen = canvas.getContext("2d");
  const wrap = (number) => ((number % pictures.length) + pictures.length) % pictures.length;
  const draw = () => pen.drawImage(pictures[wrap(model.get("frame"))], 0, 0);
  model.on("change:frame", draw);

  let start = null; // of a drag: where it began, and the frame that was shown
  canvas.addEventListener("pointerdown", (event) => {
    start = { x: event.clientX, frame: model.get("frame") };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (start === null) return;
    // A drag across the whole picture is one turn; the surface follows the pointer, so the camera goes the other way.
    const pages = Math.round(((start.x - event.clientX) / canvas.clientWidth) * pictures.length);
    model.set("frame", wrap(start.frame + pages));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      start = null;
      model.save_changes();
    });
  }
  draw();
  el.append(canvas);
  return () => model.off("change:frame", draw);
}

export default { render };
