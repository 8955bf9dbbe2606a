// Where a picture lies on the stage, and numbers as they are read out. No page is needed here.
//
// A view is { zoom, x, y }: device pixels for one picture pixel, and the picture's upper left corner in device pixels.

const ZOOM_STEP = Math.SQRT2;
const LARGEST_ZOOM = 64;

function fitted(stage, picture) {
  const zoom = Math.min(stage.width / picture.width, stage.height / picture.height, LARGEST_ZOOM);
  return placed({ zoom, x: (stage.width - zoom * picture.width) / 2, y: (stage.height - zoom * picture.height) / 2 });
}

// Two steps are exactly twice, so that pixels stay squares.
function snapped(zoom) {
  const step = 2 ** (Math.round(2 * Math.log2(zoom)) / 2);
  return Math.abs(zoom / step - 1) < 1e-6 ? step : zoom;
}

// The point (x, y) of the stage stays where it is.
function zoomed(view, zoom, x, y, stage, picture) {
  const smallest = Math.min(fitted(stage, picture).zoom, 1) / 4;
  const wanted = Math.min(LARGEST_ZOOM, Math.max(smallest, snapped(zoom)));
  const factor = wanted / view.zoom;
  return held({ zoom: wanted, x: x - (x - view.x) * factor, y: y - (y - view.y) * factor }, stage, picture);
}

function moved(view, dx, dy, stage, picture) {
  return held({ zoom: view.zoom, x: view.x + dx, y: view.y + dy }, stage, picture);
}

// Whole device pixels, so that picture pixels at 100 % are device pixels.
function placed(view) {
  return { zoom: view.zoom, x: Math.round(view.x), y: Math.round(view.y) };
}

// A picture smaller than the stage lies in its middle; a larger one leaves no more than half of the stage empty.
function held(view, stage, picture) {
  const along = (at, room, length) => {
    if (length <= room) return (room - length) / 2;
    return Math.min(room / 2, Math.max(room / 2 - length, at));
  };
  return placed({
    zoom: view.zoom,
    x: along(view.x, stage.width, view.zoom * picture.width),
    y: along(view.y, stage.height, view.zoom * picture.height),
  });
}

// The picture pixel below a point of the stage, null beside the picture.
function pixelAt(view, x, y, picture) {
  const place = { x: Math.floor((x - view.x) / view.zoom), y: Math.floor((y - view.y) / view.zoom) };
  return place.x >= 0 && place.y >= 0 && place.x < picture.width && place.y < picture.height ? place : null;
}

// Light of one pixel, 1.0 = SDR white, from RGBA half floats.
function lightAt(pixels, width, place) {
  const at = 4 * (place.y * width + place.x);
  return [0, 1, 2].map((channel) => floatOfHalf(pixels[at + channel]));
}

// ITU-R BT.709-6, item 3.2
function luminanceOf([red, green, blue]) {
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// Four digits, no exponent.
function digits(value) {
  if (!value) return "0";
  const places = 3 - Math.floor(Math.log10(Math.abs(value)));
  return value.toFixed(Math.min(6, Math.max(0, places)));
}

function signed(value, places) {
  const text = Math.abs(value).toFixed(places);
  return Number(text) === 0 ? text : `${value < 0 ? "\u2212" : "+"}${text}`;
}
