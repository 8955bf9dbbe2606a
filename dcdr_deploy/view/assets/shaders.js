// What is drawn, for WebGL2 and for WebGPU: the same lines in two languages.
//
// A device pixel is the mean of the light that it covers, every picture pixel weighed by the covered area: at 100 % that
// is the pixel itself, below it averages in linear light, above it shows pixels with clean edges. Then exposure, then the
// sRGB curve (IEC 61966-2-1), clipped to [0, 1] on an ordinary canvas, going on beyond 1 on an HDR canvas.

// False colours are codes already. The exponent's bits of a float are its stops, exactly.
function glslSource(bands, lowest, nudge) {
  return `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
uniform sampler2D before, after;
uniform vec2 origin, size;
uniform float zoom, gain, divider, surround;
uniform int shows;
uniform bool extended;
uniform float height;
out vec4 colour;
const vec3 BANDS[${bands.length}] = vec3[](${bands.map((band) => `vec3(${band.map((code) => `${code}.0/255.0`)})`)});
vec3 encoded(vec3 light) {
  vec3 x = extended ? abs(light) : clamp(light, 0.0, 1.0);
  vec3 code = mix(12.92 * x, 1.055 * pow(max(x, 0.0031308), vec3(1.0 / 2.4)) - 0.055, step(vec3(0.0031308), x));
  return extended ? sign(light) * code : code;
}
vec3 mean(sampler2D picture, vec2 low, vec2 high) {
  vec3 sum = vec3(0.0);
  float weights = 0.0;
  for (int y = int(floor(low.y)); float(y) < high.y; y++) {
    float tall = min(float(y + 1), high.y) - max(float(y), low.y);
    for (int x = int(floor(low.x)); float(x) < high.x; x++) {
      float weight = tall * (min(float(x + 1), high.x) - max(float(x), low.x));
      sum += weight * texelFetch(picture, ivec2(x, y), 0).rgb;
      weights += weight;
    }
  }
  return sum / weights;
}
void main() {
  vec2 at = vec2(gl_FragCoord.x, height - gl_FragCoord.y);
  vec2 middle = (at - origin) / zoom;
  if (any(lessThan(middle, vec2(0.0))) || any(greaterThanEqual(middle, size))) {
    colour = vec4(vec3(surround), 1.0);
    return;
  }
  vec2 half_ = vec2(0.5 / zoom);
  vec2 low = max(middle - half_, vec2(0.0)), high = min(middle + half_, size);
  bool first = (shows & 1) == 1 || ((shows & 2) == 2 && at.x < divider);
  vec3 light = first ? mean(before, low, high) : mean(after, low, high);
  if ((shows & 4) == 4) {
    float y = max(dot(light, vec3(0.2126, 0.7152, 0.0722)), 1e-9) * ${nudge};
    int stops = (floatBitsToInt(y) >> 23) - 127;
    colour = vec4(BANDS[clamp(stops - (${lowest - 1}), 0, ${bands.length - 1})], 1.0);
  } else {
    colour = vec4(encoded(light * gain), 1.0);
  }
}`;
}

const GLSL_VERTICES = `#version 300 es
void main() {
  vec2 corner = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2);
  gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}`;

function wgslSource(bands, lowest, nudge) {
  return `
struct Frame {
  origin: vec2f, size: vec2f,
  zoom: f32, gain: f32, divider: f32, surround: f32,
  shows: u32, extended: u32,
}
@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var before: texture_2d<f32>;
@group(0) @binding(2) var after: texture_2d<f32>;
@vertex fn vertices(@builtin(vertex_index) index: u32) -> @builtin(position) vec4f {
  let corner = vec2f(f32((index << 1u) & 2u), f32(index & 2u));
  return vec4f(corner * 2.0 - 1.0, 0.0, 1.0);
}
fn encoded(light: vec3f) -> vec3f {
  let x = select(clamp(light, vec3f(0.0), vec3f(1.0)), abs(light), frame.extended == 1u);
  let power = 1.055 * pow(max(x, vec3f(0.0031308)), vec3f(1.0 / 2.4)) - 0.055;
  let code = select(12.92 * x, power, x >= vec3f(0.0031308));
  return select(code, sign(light) * code, frame.extended == 1u);
}
fn mean(picture: texture_2d<f32>, low: vec2f, high: vec2f) -> vec3f {
  var sum = vec3f(0.0);
  var weights = 0.0;
  for (var y = i32(floor(low.y)); f32(y) < high.y; y++) {
    let tall = min(f32(y + 1), high.y) - max(f32(y), low.y);
    for (var x = i32(floor(low.x)); f32(x) < high.x; x++) {
      let weight = tall * (min(f32(x + 1), high.x) - max(f32(x), low.x));
      sum += weight * textureLoad(picture, vec2i(x, y), 0).rgb;
      weights += weight;
    }
  }
  return sum / weights;
}
@fragment fn pixels(@builtin(position) position: vec4f) -> @location(0) vec4f {
  var bands = array<vec3f, ${bands.length}>(${bands.map((band) => `vec3f(${band.map((code) => `${code}.0/255.0`)})`)});
  let at = position.xy;
  let middle = (at - frame.origin) / frame.zoom;
  if (any(middle < vec2f(0.0)) || any(middle >= frame.size)) {
    return vec4f(vec3f(frame.surround), 1.0);
  }
  let half_ = vec2f(0.5 / frame.zoom);
  let low = max(middle - half_, vec2f(0.0));
  let high = min(middle + half_, frame.size);
  var light: vec3f;
  if ((frame.shows & 1u) == 1u || ((frame.shows & 2u) == 2u && at.x < frame.divider)) {
    light = mean(before, low, high);
  } else {
    light = mean(after, low, high);
  }
  if ((frame.shows & 4u) == 4u) {
    let y = max(dot(light, vec3f(0.2126, 0.7152, 0.0722)), 1e-9) * ${nudge};
    let stops = (bitcast<i32>(y) >> 23u) - 127;
    return vec4f(bands[clamp(stops - (${lowest - 1}), 0, ${bands.length - 1})], 1.0);
  }
  return vec4f(encoded(light * frame.gain), 1.0);
}`;
}
