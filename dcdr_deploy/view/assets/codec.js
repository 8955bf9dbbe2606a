// Pictures out of the page's text: the way back of dcdr_deploy/view/codec.py, which says what is done.

const HALF_ONE = 0x3c00;

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Three planes of `bits` (8 or 16) each: red, green, blue, one after the other.
async function unpacked(base64, width, height, bits, green) {
  const bytes = await inflated(bytesOf(base64));
  const count = width * height;
  const planes = bits === 8 ? new Uint8Array(3 * count) : new Uint16Array(3 * count);
  const mask = bits === 8 ? 0xff : 0xffff;
  for (let plane = 0; plane < 3; plane++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = plane * count + y * width + x;
        const left = x ? planes[at - 1] : 0;
        const upper = y ? planes[at - width] : 0;
        const corner = x && y ? planes[at - width - 1] : 0;
        const low = left < upper ? left : upper;
        const high = left < upper ? upper : left;
        const sum = left + upper - corner;
        const foretold = sum < low ? low : sum > high ? high : sum;
        const folded = bits === 8 ? bytes[at] : (bytes[at] << 8) | bytes[3 * count + at];
        planes[at] = (foretold + ((folded >> 1) ^ -(folded & 1))) & mask;
      }
    }
  }
  if (green) {
    for (let i = 0; i < count; i++) {
      planes[i] += planes[count + i];
      planes[2 * count + i] += planes[count + i];
    }
  }
  return planes;
}

// Planes side by side in each pixel with alpha = 1, as half floats, the way textures take them.
function interleaved(planes, count, halfOf) {
  const pixels = new Uint16Array(4 * count);
  for (let i = 0; i < count; i++) {
    pixels[4 * i] = halfOf(planes[i], i);
    pixels[4 * i + 1] = halfOf(planes[count + i], count + i);
    pixels[4 * i + 2] = halfOf(planes[2 * count + i], 2 * count + i);
    pixels[4 * i + 3] = HALF_ONE;
  }
  return pixels;
}

// `facts` is what page.py says of a picture; `text(part)` the text of its part "light" or "input".
async function decodePicture(facts, text, halfOfCode) {
  const { width, height } = facts;
  const count = width * height;
  const codes = facts.input ? await unpacked(text("input"), width, height, 8, facts.input.green) : null;
  const stored = await unpacked(text("light"), width, height, 16, facts.light.green);
  const after = codes
    ? interleaved(stored, count, (bits, at) => (bits + halfOfCode[codes[at]]) & 0xffff)
    : interleaved(stored, count, (bits) => bits);
  const before = codes ? interleaved(codes, count, (code) => halfOfCode[code]) : null;
  return { width, height, codes, before, after };
}

function floatOfHalf(bits) {
  const fraction = bits & 0x3ff;
  const exponent = (bits >> 10) & 0x1f;
  const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : (fraction / 1024) * 2 ** -14;
  return bits & 0x8000 ? -size : size;
}
