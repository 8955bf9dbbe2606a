// What stands around the picture: it shows what the viewer says.

const element = (id) => document.getElementById(id);
const settings = JSON.parse(element("settings").textContent);
const stage = element("stage");
const words = (number, part) => element(`picture-${number}-${part}`).textContent;
const several = settings.pictures.length > 1;
const viewer = new Viewer(stage, settings, words, update);
const ratio = () => viewer.room.width / stage.clientWidth;
const highRange = matchMedia("(dynamic-range: high)");

function update() {
  const { picture, facts, view } = viewer;
  element("picture").value = String(viewer.number);
  element("facts").textContent = facts ? facts.line : "";
  document.title = facts && several ? `${facts.name} (${settings.title})` : settings.title;
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
