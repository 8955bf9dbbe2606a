// What is seen: the picture that is chosen, how it is shown, and a canvas that draws it. Knows no controls: it tells
// `changed` when they have something new to show.

const EXPOSURES = { from: -8, to: 8 };
const KEPT_PIXELS = 17e6; // of unpacked pictures, 19 bytes each

class Viewer {
  // `settings` is what page.py says; `text(number, part)` gives the text of a part of a picture.
  constructor(stage, settings, text, changed) {
    Object.assign(this, { stage, settings, text, changed });
    this.decoded = new Map();
    this.number = -1;
    this.picture = null;
    this.mode = "split";
    this.colour = false;
    this.exposure = settings.exposure;
    this.split = 0.5;
    this.probe = null;
    this.view = null;
    this.fits = true;
    this.room = { width: 1, height: 1 };
    this.way = null; // to canvases that are brighter than white
    const observer = new ResizeObserver((entries) => this.resized(entries[0]));
    try {
      observer.observe(stage, { box: "device-pixel-content-box" }); // tells of displays with other pixels, too
    } catch {
      observer.observe(stage);
    }
  }

  get facts() {
    return this.settings.pictures[this.number];
  }

  // A canvas has one kind of context for its life, so each renderer has a canvas of its own.
  useCanvas(extended) {
    const canvas = document.createElement("canvas");
    const renderer = extended
      ? new WebGpuRenderer(canvas, this.way)
      : new WebGlRenderer(canvas, this.settings);
    this.renderer?.close();
    this.renderer?.canvas.remove();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault()); // so that it is given back
    canvas.addEventListener("webglcontextrestored", () => this.useRenderer(new WebGlRenderer(canvas, this.settings)));
    this.stage.prepend(canvas);
    this.useRenderer(renderer);
  }

  useRenderer(renderer) {
    this.renderer = renderer;
    this.sizeCanvas();
    if (this.picture) renderer.load(this.picture);
    this.draw();
  }

  async show(number) {
    if (number === this.number) return;
    this.number = number;
    const last = this.picture ?? this.last; // several may be chosen before one is there
    this.last = last;
    this.picture = null;
    this.stage.setAttribute("aria-busy", "true");
    this.changed();
    const facts = this.facts;
    if (!this.decoded.has(number)) {
      if (Math.max(facts.width, facts.height) > this.renderer.largest) {
        throw new Error(
          `${facts.name} has ${facts.width} x ${facts.height} pixels and this browser draws at most ` +
            `${this.renderer.largest}: make the page with --max-edge ${this.renderer.largest}.`,
        );
      }
      this.decoded.set(number, decodePicture(facts, (part) => this.text(number, part), this.settings.halfOfCode));
    }
    const picture = await this.decoded.get(number);
    if (number !== this.number) return; // another one was chosen meanwhile
    this.forgetAllBut(number);
    this.picture = picture;
    this.renderer.load(picture);
    // Pictures of one size are compared: what is looked at stays.
    if (last?.width === picture.width && last.height === picture.height) {
      this.draw();
    } else {
      this.probe = null;
      this.fit();
    }
    this.stage.setAttribute("aria-busy", "false");
  }

  // Pictures that were unpacked first go first.
  forgetAllBut(number) {
    const pixels = (one) => this.settings.pictures[one].width * this.settings.pictures[one].height;
    let kept = [...this.decoded.keys()].reduce((sum, one) => sum + pixels(one), 0);
    for (const one of [...this.decoded.keys()]) {
      if (kept <= KEPT_PIXELS) return;
      if (one === number) continue;
      this.decoded.delete(one);
      kept -= pixels(one);
    }
  }

  get shownMode() {
    return this.picture?.before ? this.mode : "after";
  }

  set(values) {
    Object.assign(this, values);
    this.exposure = Math.min(EXPOSURES.to, Math.max(EXPOSURES.from, Math.round(this.exposure * 10) / 10));
    this.split = Math.min(1, Math.max(0, this.split));
    this.draw();
  }

  fit() {
    if (!this.picture) return;
    this.fits = true;
    this.view = fitted(this.room, this.picture);
    this.draw();
  }

  // Around a point of the stage in device pixels, by default its middle.
  zoomTo(zoom, x = this.room.width / 2, y = this.room.height / 2) {
    if (!this.picture) return;
    this.fits = false;
    this.view = zoomed(this.view, zoom, x, y, this.room, this.picture);
    this.draw();
  }

  zoomBy(factor, x, y) {
    if (this.view) this.zoomTo(this.view.zoom * factor, x, y);
  }

  moveBy(dx, dy) {
    if (!this.picture) return;
    this.fits = false;
    this.view = moved(this.view, dx, dy, this.room, this.picture);
    this.draw();
  }

  probeAt(place) {
    this.probe = place;
    this.changed();
  }

  // Moves the measured pixel, from the middle of what is seen where there is none, and keeps it in sight.
  moveProbe(dx, dy) {
    if (!this.picture) return;
    const middle = pixelAt(this.view, this.room.width / 2, this.room.height / 2, this.picture);
    const from = this.probe ?? middle ?? { x: 0, y: 0 };
    const x = Math.min(this.picture.width - 1, Math.max(0, from.x + dx));
    const y = Math.min(this.picture.height - 1, Math.max(0, from.y + dy));
    const [left, top] = [this.view.x + x * this.view.zoom, this.view.y + y * this.view.zoom];
    const outside = (at, length) => Math.min(0, length - at - this.view.zoom) + Math.max(0, -at);
    const [aside, up] = [outside(left, this.room.width), outside(top, this.room.height)];
    if (aside || up) this.moveBy(aside, up);
    this.probeAt({ x, y });
  }

  // Both lights below the measured pixel and their luminance in cd/m2.
  measured() {
    if (!this.probe || !this.picture) return null;
    const { before, after, codes, width, height } = this.picture;
    const measure = (pixels) => {
      const light = lightAt(pixels, width, this.probe);
      return { light, nits: luminanceOf(light) * this.settings.referenceWhite };
    };
    const at = this.probe.y * width + this.probe.x;
    const code = codes && [0, 1, 2].map((plane) => codes[plane * width * height + at]);
    return { ...this.probe, after: measure(after), before: before && { ...measure(before), code } };
  }

  resized(entry) {
    const exact = entry.devicePixelContentBoxSize?.[0];
    const pixels = (size, told) => {
      const about = Math.round(size * window.devicePixelRatio);
      return Math.max(1, Math.abs(told - about) <= 1 ? told : about); // told wrong where a display is emulated
    };
    this.room = {
      width: pixels(entry.contentRect.width, exact?.inlineSize),
      height: pixels(entry.contentRect.height, exact?.blockSize),
    };
    this.sizeCanvas();
    if (!this.picture) return;
    this.view = this.fits ? fitted(this.room, this.picture) : held(this.view, this.room, this.picture);
    this.paint(); // at once: a canvas whose size was set is empty
    this.changed();
  }

  sizeCanvas() {
    if (this.renderer) Object.assign(this.renderer.canvas, this.room);
  }

  draw() {
    this.changed();
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    if (!this.picture || !this.view) return;
    const { before, split, colour } = SHOWS;
    const shows = { before, split, after: 0 }[this.shownMode] + (this.colour ? colour : 0);
    this.renderer.draw({
      ...this.room,
      origin: [this.view.x, this.view.y],
      zoom: this.view.zoom,
      gain: 2 ** this.exposure,
      divider: this.split * this.room.width,
      surround: this.settings.surround,
      shows,
    });
    this.stage.dataset.drawn = String(this.number);
  }
}
