// Before and after: two pictures on top of each other, and a bar between them that the pointer or the arrow keys move.
// The trait `position` is the bar's place in per cent: what is left of it shows the first picture.

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "image3d-compare";
  root.style.width = `${model.get("width")}px`;
  root.tabIndex = 0;
  root.setAttribute("role", "slider");
  root.setAttribute("aria-valuemin", "0");
  root.setAttribute("aria-valuemax", "100");
  root.setAttribute("aria-label", model.get("labels").join(" | ")); // an attribute is text, whatever it holds

  const urls = [];
  const [before] = ["before", "after"].map((name) => {
    const picture = document.createElement("img");
    urls.push(URL.createObjectURL(new Blob([model.get(name)])));
    picture.src = urls.at(-1);
    picture.alt = "";
    picture.draggable = false;
    if (model.get("pixelated")) picture.style.imageRendering = "pixelated";
    root.append(picture);
    return picture;
  });
  before.className = "image3d-before"; // below the other in the page's order, above it in depth
  const bar = document.createElement("div");
  bar.className = "image3d-bar";
  root.append(bar);
  model.get("labels").forEach((text, side) => {
    const label = document.createElement("span");
    label.className = side ? "image3d-right" : "image3d-left";
    label.textContent = text;
    label.hidden = text === "";
    root.append(label);
  });

  const draw = () => {
    const position = model.get("position");
    before.style.clipPath = `inset(0 ${100 - position}% 0 0)`;
    bar.style.left = `${position}%`;
    root.setAttribute("aria-valuenow", position.toFixed(0));
  };
  const move = (position) => {
    model.set("position", Math.min(100, Math.max(0, position)));
    model.save_changes();
  };
  const follow = (event) => {
    const box = root.getBoundingClientRect();
    move((100 * (event.clientX - box.left)) / box.width);
  };
  root.addEventListener("pointerdown", (event) => {
    root.setPointerCapture(event.pointerId);
    follow(event);
  });
  root.addEventListener("pointermove", (event) => {
    if (root.hasPointerCapture(event.pointerId)) follow(event);
  });
  root.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -5, ArrowRight: 5, Home: -100, End: 100 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has plans of its own for the arrow keys
    move(model.get("position") + step);
  });
  model.on("change:position", draw);
  draw();
  el.append(root);
  return () => {
    model.off("change:position", draw);
    urls.forEach((url) => URL.revokeObjectURL(url));
  };
}

export default { render };
