// Buttons, sliders and keys: they turn the viewer's dials. And the start of it all.

function fail(error) {
  stage.setAttribute("aria-busy", "false");
  element("message").textContent = error.message;
  element("message").hidden = false;
}

async function choose(number) {
  const message = element("message");
  message.textContent = "Unpacking the picture";
  message.hidden = false;
  try {
    await viewer.show((number + settings.pictures.length) % settings.pictures.length);
    message.hidden = viewer.picture !== null;
  } catch (error) {
    fail(error);
  }
}

function expose(stops) {
  viewer.set({ exposure: stops });
}

function useMode(mode) {
  if (viewer.facts?.input) viewer.set({ mode });
}

function useExtended(extended) {
  viewer.useCanvas(extended);
  element("hdr").setAttribute("aria-pressed", String(extended));
  const spoiled = extended && !highRange.matches ? "this display says it is SDR" : "";
  element("canvas-kind").textContent = viewer.way ? spoiled : "SDR canvas";
  update();
}

function toggleExtended() {
  if (viewer.way) chooseExtended(!viewer.renderer.extended);
}

// Without what an HDR canvas needs there is still the other one.
function chooseExtended(extended) {
  try {
    useExtended(extended && Boolean(viewer.way));
  } catch (error) {
    if (extended) loseWay();
    else fail(error);
  }
}

function loseWay() {
  viewer.way = null;
  element("hdr").hidden = true;
  chooseExtended(false);
}

function onePixel(x, y) {
  viewer.zoomTo(1, x, y);
}

const PAN = 60;
const ACTIONS = {
  e: () => expose(viewer.exposure + 0.5),
  E: () => expose(viewer.exposure - 0.5),
  "]": () => expose(viewer.exposure + 0.5),
  "[": () => expose(viewer.exposure - 0.5),
  0: () => expose(0),
  s: () => useMode("split"),
  b: () => useMode("before"),
  a: () => useMode("after"),
  " ": () => useMode(viewer.mode === "before" ? "after" : "before"),
  ",": () => viewer.set({ split: viewer.split - 0.02 }),
  ".": () => viewer.set({ split: viewer.split + 0.02 }),
  c: () => viewer.set({ colour: !viewer.colour }),
  "+": () => viewer.zoomBy(ZOOM_STEP),
  "=": () => viewer.zoomBy(ZOOM_STEP),
  "-": () => viewer.zoomBy(1 / ZOOM_STEP),
  f: () => viewer.fit(),
  1: () => onePixel(),
  n: () => choose(viewer.number + 1),
  p: () => choose(viewer.number - 1),
  h: toggleExtended,
  "?": () => element("keys").showModal(),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || element("keys").open) return;
  const { target } = event;
  // A list searches by letters, a button is pressed by the space bar, sliders and radio buttons move by arrow keys.
  if (target instanceof HTMLSelectElement) return;
  if (event.key === " " && target.matches("button, input")) return;
  const arrow = ARROWS[event.key];
  if (arrow && target instanceof HTMLInputElement) return;
  if (arrow) {
    if (event.shiftKey) {
      viewer.markShown = true;
      viewer.moveProbe(...arrow);
      element("spoken").textContent = `${element("place").textContent}: ${element("value-after").textContent}`;
    } else {
      viewer.moveBy(-PAN * arrow[0] * ratio(), -PAN * arrow[1] * ratio());
    }
  } else if (Object.hasOwn(ACTIONS, event.key)) {
    ACTIONS[event.key]();
  } else {
    return;
  }
  event.preventDefault();
}

async function start() {
  settings.pictures.forEach((facts, number) => element("picture").append(new Option(facts.name, String(number))));
  for (const id of ["previous", "next"]) element(id).disabled = !several;
  fillLegend();
  const on = (id, event, action) => element(id).addEventListener(event, action);
  on("picture", "change", (event) => choose(Number(event.target.value)));
  on("previous", "click", () => choose(viewer.number - 1));
  on("next", "click", () => choose(viewer.number + 1));
  on("exposure", "input", (event) => expose(Number(event.target.value)));
  on("exposure-reset", "click", () => expose(0));
  on("split", "input", (event) => viewer.set({ split: Number(event.target.value) }));
  on("views", "change", (event) => useMode(event.target.value));
  on("false-colour", "click", ACTIONS.c);
  on("zoom-in", "click", ACTIONS["+"]);
  on("zoom-out", "click", ACTIONS["-"]);
  on("zoom-fit", "click", ACTIONS.f);
  on("zoom-one", "click", ACTIONS[1]);
  on("hdr", "click", toggleExtended);
  on("help", "click", ACTIONS["?"]);
  on("stage", "pointerdown", down);
  on("stage", "pointermove", move);
  on("stage", "pointerup", up);
  on("stage", "pointercancel", up);
  on("stage", "pointerleave", () => viewer.probeAt(null));
  on("stage", "dblclick", clickedTwice);
  stage.addEventListener("wheel", wheeled, { passive: false });
  document.addEventListener("keydown", pressed);
  viewer.way = await extendedWay(settings);
  element("hdr").hidden = !viewer.way;
  viewer.way?.device.lost.then(loseWay);
  // A window that is moved to another display changes with it.
  highRange.addEventListener("change", () => viewer.way && chooseExtended(highRange.matches));
  chooseExtended(highRange.matches);
  if (viewer.renderer) await choose(0);
}

start().catch(fail);
