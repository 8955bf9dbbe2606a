// Mouse and touch on the stage: move, zoom, the divider, the measured pixel.

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
