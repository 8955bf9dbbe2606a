// Buttons, sliders, keys, mouse and touch: they turn the viewer's dials and show what it says.

const element = (id) => document.getElementById(id);
const settings = JSON.parse(element("settings").textContent);
const stage = element("stage");
const words = (number, part) => element(`picture-${number}-${part}`).textContent;
const several = settings.pictures.length > 1;
const viewer = new Viewer(stage, settings, words, update);
const ratio = () => viewer.room.width / stage.clientWidth;
const highRange = matchMedia("(dynamic-range: high)");

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

// ---- what is shown ------------------------------------------------------------------------------------------------

function update() {
  const { picture, facts, view } = viewer;
  element("picture").value = String(viewer.number);
  element("facts").textContent = facts ? facts.line : "";
  document.title = facts ? `${facts.name} - ${settings.title}` : settings.title;
  const canSplit = Boolean(facts?.input);
  for (const choice of document.querySelectorAll("#views input")) {
    choice.checked = choice.value === (canSplit ? viewer.mode : "after");
    choice.disabled = !canSplit && choice.value !== "after";
  }
  element("exposure").value = String(viewer.exposure);
  element("exposure-value").textContent = `${signed(viewer.exposure, 1)} EV`;
  element("exposure").setAttribute("aria-valuetext", element("exposure-value").textContent);
  element("split").value = String(viewer.split);
  element("split").setAttribute("aria-valuetext", `${Math.round(100 * viewer.split)} % before`);
  const splits = canSplit && viewer.mode === "split";
  element("split").disabled = !splits;
  element("divider").hidden = element("tag-before").hidden = element("tag-after").hidden = !splits;
  const at = viewer.split * stage.clientWidth;
  element("divider").style.left = `${at}px`;
  element("tag-before").style.right = `${stage.clientWidth - at + 10}px`;
  element("tag-after").style.left = `${at + 10}px`;
  element("false-colour").setAttribute("aria-pressed", String(viewer.colour));
  element("legend").hidden = !viewer.colour;
  element("zoom-value").textContent = view && picture ? `${(100 * view.zoom).toFixed(view.zoom < 0.1 ? 1 : 0)} %` : "";
  updateHint();
  updateReadout();
}

// On a canvas that ends at white, a picture at 0 EV looks like its input.
function updateHint() {
  const hides = viewer.facts && !viewer.renderer?.extended && viewer.exposure > -0.5 && viewer.facts.aboveWhite >= 0.0005;
  const share = viewer.facts ? (100 * viewer.facts.aboveWhite).toFixed(1) : "";
  element("hint").textContent = hides ? `${share} % of it is brighter than this canvas: lower the exposure` : "";
}

function updateReadout() {
  const found = viewer.measured();
  const mark = element("mark");
  mark.hidden = !(found && viewer.markShown);
  if (!found) {
    element("place").textContent = "Point at the picture";
    element("value-before").textContent = element("value-after").textContent = "";
    return;
  }
  element("place").textContent = `x ${found.x}  y ${found.y}`;
  const stops = (nits) => (nits > 0 ? `${signed(Math.log2(nits / settings.referenceWhite), 1)} EV` : "black");
  const lines = (id, name, value, samples) => {
    const strong = document.createElement("b");
    strong.textContent = `${digits(value.nits)} cd/m\u00b2`;
    const faint = document.createElement("i");
    faint.textContent = ` ${stops(value.nits)}   ${samples}`;
    element(id).replaceChildren(`${name} `, strong, faint);
  };
  if (found.before) lines("value-before", "before", found.before, `sRGB ${found.before.code.join(" ")}`);
  else element("value-before").textContent = "";
  lines("value-after", found.before ? "after" : "", found.after, `linear ${found.after.light.map(digits).join(" ")}`);
  const scale = viewer.view.zoom / ratio();
  const side = Math.max(scale, 7);
  mark.style.width = mark.style.height = `${side + 2}px`;
  mark.style.left = `${viewer.view.x / ratio() + (found.x + 0.5) * scale - side / 2 - 1}px`;
  mark.style.top = `${viewer.view.y / ratio() + (found.y + 0.5) * scale - side / 2 - 1}px`;
}

function fillLegend() {
  const nits = (stop) => {
    const value = settings.referenceWhite * 2 ** stop;
    return value < 100 ? value.toPrecision(3) : Math.round(value).toLocaleString("en");
  };
  settings.bands.forEach((band, number) => {
    const stop = settings.lowest + number;
    const last = number === settings.bands.length - 1;
    const cell = document.createElement("div");
    const [above, swatch, below] = ["span", "i", "span"].map((name) => document.createElement(name));
    cell.className = stop === 0 ? "white" : "";
    above.textContent = last ? "EV" : signed(stop, 0);
    swatch.style.background = `rgb(${band.join(" ")})`;
    below.textContent = last ? "cd/m\u00b2" : nits(stop);
    cell.append(above, swatch, below);
    element("legend").append(cell);
  });
}

// ---- what is done -------------------------------------------------------------------------------------------------

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

// ---- mouse and touch ----------------------------------------------------------------------------------------------

const pointers = new Map();
let dragsDivider = false;

function placeOf(event) {
  const box = stage.getBoundingClientRect();
  return { x: (event.clientX - box.left) * ratio(), y: (event.clientY - box.top) * ratio() };
}

function isNearDivider(place) {
  const reach = (matchMedia("(pointer: coarse)").matches ? 22 : 8) * ratio();
  return viewer.shownMode === "split" && Math.abs(place.x - viewer.split * viewer.room.width) < reach;
}

function down(event) {
  if (event.button > 0) return;
  const place = placeOf(event);
  stage.setPointerCapture(event.pointerId);
  dragsDivider = pointers.size === 0 && isNearDivider(place);
  pointers.set(event.pointerId, place);
  if (!dragsDivider) stage.classList.add("moving");
}

function move(event) {
  const place = placeOf(event);
  const last = pointers.get(event.pointerId);
  if (!last) {
    stage.classList.toggle("near-divider", isNearDivider(place));
  } else if (dragsDivider) {
    viewer.set({ split: place.x / viewer.room.width });
  } else if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const apart = (at) => Math.hypot(at.x - other.x, at.y - other.y) || 1;
    viewer.moveBy((place.x - last.x) / 2, (place.y - last.y) / 2);
    viewer.zoomBy(apart(place) / apart(last), (place.x + other.x) / 2, (place.y + other.y) / 2);
  } else {
    viewer.moveBy(place.x - last.x, place.y - last.y);
  }
  if (last) pointers.set(event.pointerId, place);
  viewer.markShown = event.pointerType === "touch";
  if (viewer.picture) viewer.probeAt(pixelAt(viewer.view, place.x, place.y, viewer.picture));
}

function up(event) {
  pointers.delete(event.pointerId);
  if (!pointers.size) {
    dragsDivider = false;
    stage.classList.remove("moving");
  }
}

function wheeled(event) {
  event.preventDefault();
  const { x, y } = placeOf(event);
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY : event.deltaY / 40;
  viewer.zoomBy(2 ** (-lines / 6), x, y);
}

function clickedTwice(event) {
  const { x, y } = placeOf(event);
  if (viewer.fits) onePixel(x, y);
  else viewer.fit();
}

// ---- start --------------------------------------------------------------------------------------------------------

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
