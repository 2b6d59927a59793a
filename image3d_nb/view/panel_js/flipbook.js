// A flip book: one of several images of equal size, chosen by the trait `frame`. Dragging sideways turns the pages.
// All images are in the browser, so a play bar linked to `frame` in the browser needs no kernel.

async function render({ model, el }) {
  const blobs = model.get("images").map((bytes) => new Blob([bytes]));
  const images = await Promise.all(blobs.map((blob) => createImageBitmap(blob)));
  const canvas = document.createElement("canvas");
  canvas.className = "image3d-flipbook";
  canvas.width = images[0].width;
  canvas.height = images[0].height;
  canvas.style.width = `${model.get("width")}px`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", model.get("label")); // an attribute is text, whatever it holds
  const pen = canvas.getContext("2d");
  const wrap = (number) => ((number % images.length) + images.length) % images.length;
  const draw = () => pen.drawImage(images[wrap(model.get("frame"))], 0, 0);
  model.on("change:frame", draw);

  let start = null; // of a drag: where it began, and the frame that was shown
  canvas.addEventListener("pointerdown", (event) => {
    start = { x: event.clientX, frame: model.get("frame") };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (start === null) return;
    // A drag across the whole image is one turn; the surface follows the pointer, so the camera goes the other way.
    const pages = Math.round(((start.x - event.clientX) / canvas.clientWidth) * images.length);
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
