// Two ways onto a canvas: WebGL2, which every browser has, in SDR; and WebGPU with extended tone mapping, which draws
// brighter than white where browser and display can. Both take the same pictures and frames.
//
// A frame is { width, height, origin: [x, y], zoom, gain, divider, shows, surround }, all in device pixels; `shows` is a
// sum of SHOWS.

const SHOWS = { before: 1, split: 2, colour: 4 };

class WebGlRenderer {
  constructor(canvas, settings) {
    this.canvas = canvas;
    this.extended = false;
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
    if (!gl) throw new Error("This browser gives the page no WebGL2, which it draws with. If it did before, load the page again.");
    this.gl = gl;
    gl.disable(gl.DITHER);
    this.largest = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    const program = gl.createProgram();
    const sources = [
      [gl.VERTEX_SHADER, GLSL_VERTICES],
      [gl.FRAGMENT_SHADER, glslSource(settings.bands, settings.lowest, settings.nudge)],
    ];
    for (const [kind, source] of sources) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.place = (name) => gl.getUniformLocation(program, name);
    gl.uniform1i(this.place("before"), 0);
    gl.uniform1i(this.place("after"), 1);
    this.textures = [gl.createTexture(), gl.createTexture()];
  }

  load(picture) {
    const gl = this.gl;
    this.size = [picture.width, picture.height];
    [picture.before ?? picture.after, picture.after].forEach((pixels, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, this.textures[unit]);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA16F, ...this.size, 0, gl.RGBA, gl.HALF_FLOAT, pixels);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    });
  }

  draw(frame) {
    const gl = this.gl;
    gl.viewport(0, 0, frame.width, frame.height);
    gl.uniform2f(this.place("origin"), ...frame.origin);
    gl.uniform2f(this.place("size"), ...this.size);
    for (const name of ["zoom", "gain", "divider", "surround", "height"]) gl.uniform1f(this.place(name), frame[name]);
    gl.uniform1i(this.place("shows"), frame.shows);
    gl.uniform1i(this.place("extended"), 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  close() {
    // Not by losing the context: browsers then refuse the page a new one.
    this.textures.forEach((texture) => this.gl.deleteTexture(texture));
  }
}

const EXTENDED_CANVAS = { format: "rgba16float", colorSpace: "srgb", toneMapping: { mode: "extended" }, alphaMode: "opaque" };

// A device whose canvases can be brighter than white, and the pipeline that draws on them; or null. A browser that does
// not know `toneMapping` ignores it, so what was configured is read back.
async function extendedWay(settings) {
  if (!navigator.gpu) return null;
  try {
    const adapter = await navigator.gpu.requestAdapter();
    if (!adapter) return null;
    const { maxTextureDimension2D } = adapter.limits;
    const device = await adapter.requestDevice({ requiredLimits: { maxTextureDimension2D } });
    const context = document.createElement("canvas").getContext("webgpu");
    context.configure({ device, ...EXTENDED_CANVAS });
    const found = context.getConfiguration?.().toneMapping?.mode;
    context.unconfigure();
    if (found !== "extended") return null;
    const module = device.createShaderModule({ code: wgslSource(settings.bands, settings.lowest, settings.nudge) });
    const pipeline = await device.createRenderPipelineAsync({
      layout: "auto",
      vertex: { module, entryPoint: "vertices" },
      fragment: { module, entryPoint: "pixels", targets: [{ format: EXTENDED_CANVAS.format }] },
      primitive: { topology: "triangle-list" },
    });
    return { device, pipeline };
  } catch {
    return null; // whatever is missing: there is WebGL2
  }
}

class WebGpuRenderer {
  constructor(canvas, { device, pipeline }) {
    Object.assign(this, { canvas, device, pipeline });
    this.extended = true;
    this.largest = device.limits.maxTextureDimension2D;
    this.context = canvas.getContext("webgpu");
    this.context.configure({ device, ...EXTENDED_CANVAS });
    this.uniforms = device.createBuffer({ size: 48, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
    this.textures = [];
  }

  load(picture) {
    const size = [picture.width, picture.height];
    this.textures.forEach((texture) => texture.destroy());
    this.size = size;
    this.textures = [picture.before ?? picture.after, picture.after].map((pixels) => {
      const usage = GPUTextureUsage.TEXTURE_BINDING | GPUTextureUsage.COPY_DST;
      const texture = this.device.createTexture({ size, format: "rgba16float", usage });
      this.device.queue.writeTexture({ texture }, pixels, { bytesPerRow: 8 * size[0] }, size);
      return texture;
    });
    this.bindings = this.device.createBindGroup({
      layout: this.pipeline.getBindGroupLayout(0),
      entries: [
        { binding: 0, resource: { buffer: this.uniforms } },
        ...this.textures.map((texture, unit) => ({ binding: unit + 1, resource: texture.createView() })),
      ],
    });
  }

  draw(frame) {
    const floats = new Float32Array(12);
    floats.set([...frame.origin, ...this.size, frame.zoom, frame.gain, frame.divider, frame.surround]);
    new Uint32Array(floats.buffer).set([frame.shows, 1], 8);
    this.device.queue.writeBuffer(this.uniforms, 0, floats);
    const commands = this.device.createCommandEncoder();
    const view = this.context.getCurrentTexture().createView();
    const pass = commands.beginRenderPass({ colorAttachments: [{ view, loadOp: "clear", storeOp: "store" }] });
    pass.setPipeline(this.pipeline);
    pass.setBindGroup(0, this.bindings);
    pass.draw(3);
    pass.end();
    this.device.queue.submit([commands.finish()]);
  }

  close() {
    this.textures.forEach((texture) => texture.destroy());
    this.uniforms.destroy();
    this.context.unconfigure();
  }
}
