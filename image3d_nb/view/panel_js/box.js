// An image on which a box is drawn with the mouse, a pen or a finger. The box goes to Python as parts of the image's
// width and height.

function render({ model, el }) {
  const frame = document.createElement("div");
  frame.className = "image3d-box-frame";
  frame.title = model.get("hint");
  const image = document.createElement("img");
  image.draggable = false;
  const box = document.createElement("div");
  box.className = "image3d-box";
  frame.append(image, box);

  let url = "";
  function showImage() {
    URL.revokeObjectURL(url);
    const bytes = model.get("value");
    url = bytes.byteLength ? URL.createObjectURL(new Blob([bytes], { type: "image/png" })) : "";
    frame.hidden = !url;
    image.src = url;
    image.alt = model.get("label");
  }
  function place(parts) {
    box.hidden = parts.length !== 4;
    if (box.hidden) return;
    const [left, top, right, bottom] = parts.map((part) => 100 * part);
    Object.assign(box.style, {
      left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%`,
    });
  }
  const showBox = () => place(model.get("box"));

  let start = null;
  const at = (event) => {
    const { left, top, width, height } = image.getBoundingClientRect();
    const part = (value) => Math.min(Math.max(value, 0), 1);
    return [part((event.clientX - left) / width), part((event.clientY - top) / height)];
  };
  const between = ([x0, y0], [x1, y1]) => [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    start = at(event);
    frame.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  frame.addEventListener("pointermove", (event) => {
    if (start) place(between(start, at(event)));
  });
  frame.addEventListener("pointerup", (event) => {
    if (!start) return;
    const drawn = between(start, at(event));
    start = null;
    showBox(); // until Python answers
    if (drawn[2] - drawn[0] > 0.02 && drawn[3] - drawn[1] > 0.02) model.send({ box: drawn }); // a click draws no box
  });
  frame.addEventListener("pointercancel", () => {
    start = null;
    showBox();
  });
  model.on("change:value", showImage);
  model.on("change:box", showBox);
  showImage();
  showBox();
  el.append(frame);
  return () => URL.revokeObjectURL(url);
}

export default { render };
