// A button that takes one file, by a click, a key or a drop, and sends it to Python as bytes. What is too large for the
// way there stays here: Python is told its name and size, and says so.

function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jupyter-button image3d-upload";
  button.textContent = model.get("label");
  button.title = model.get("hint");
  button.dataset.lmSuppressShortcuts = "true"; // the notebook has plans of its own for Enter
  const input = document.createElement("input");
  input.type = "file";
  input.accept = model.get("accept");
  input.hidden = true; // the button stands for it, for the keyboard and for screen readers too

  async function send(files) {
    if (files.length !== 1) {
      model.send({ count: files.length });
      return;
    }
    const [file] = files;
    const about = { name: file.name, size: file.size };
    if (file.size > model.get("limit")) {
      model.send(about);
      return;
    }
    try {
      model.send(about, undefined, [await file.arrayBuffer()]);
    } catch (error) { // a folder, or a file that is gone by now
      model.send({ ...about, fault: error.message });
    }
  }
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    send([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });

  const carriesFiles = (event) => event.dataTransfer.types.includes("Files");
  const mark = (event) => button.classList.toggle("image3d-over", event.type === "dragover");
  button.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault(); // only then is there a drop
    mark(event);
  });
  button.addEventListener("dragleave", mark);
  button.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault(); // the browser would open the file in place of the notebook
    event.stopPropagation();
    mark(event);
    send([...event.dataTransfer.files]);
  });
  el.append(button, input);
}

export default { render };
