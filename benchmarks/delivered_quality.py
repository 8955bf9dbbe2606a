"""What files for viewing lose: decoded light beside the result they were made of, in 10-bit PQ codes.

    python benchmarks/delivered_quality.py [PICTURE ...]

Pictures go through the demo weights. PQ files are written without roll-off (``peak_nits`` 10000), so that the light to
compare with is that of the result, 203 cd/m2 to SDR white. Decoders are libultrahdr at full headroom, libavif, libjxl
(imagecodecs) and libheif (pillow-heif). One code is about 1 % of light.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
from command_line import Parser, existing_file, start
from numpy.typing import NDArray

from dcdr_deploy import load_engine
from dcdr_deploy.imaging import WriteOptions, read_image, write_image
from dcdr_deploy.imaging.hdr_transfer import pq_encode
from dcdr_deploy.imaging.light import SDR_WHITE_NITS, Light
from dcdr_deploy.run.restore import restore
from dcdr_deploy.run.runner import Runner
from dcdr_deploy.run.selection import DEMO_MODEL

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = [ROOT / "samples" / name for name in ("china.jpg", "forest-sky.png", "venice-sunset.png")]
PQ = Light(transfer="pq", primaries="rec709", peak_nits=10000)
TOP = 1023

CASES = (
    ("Ultra HDR", ".jpg", WriteOptions()),
    ("Ultra HDR, quality 98", ".jpg", WriteOptions(quality=98)),
    ("AVIF, 10 bits", ".avif", WriteOptions(light=PQ)),
    ("AVIF, 12 bits, quality 95", ".avif", WriteOptions(bits=12, quality=95, light=PQ)),
    ("AVIF, 10 bits, slow", ".avif", WriteOptions(speed="slow", light=PQ)),
    ("JPEG XL", ".jxl", WriteOptions(light=PQ)),
    ("JPEG XL, slow", ".jxl", WriteOptions(speed="slow", light=PQ)),
    ("HEIC", ".heic", WriteOptions(light=PQ)),
)


def decoded(path: Path, bits: int) -> NDArray[np.float64]:
    """(H, W, 3) 10-bit PQ codes, with fractions, of a file's light."""
    data = path.read_bytes()
    if path.suffix == ".jpg":
        light = imagecodecs.ultrahdr_decode(data, dtype="float16")[..., :3].astype(np.float64)
        return codes_of(light)
    if path.suffix == ".heic":
        opened = pillow_heif.open_heif(data, convert_hdr_to_8bit=False)
        return np.asarray(opened[0]).astype(np.float64) * (TOP / 65472)  # 10 bits, moved up by six
    decode = imagecodecs.avif_decode if path.suffix == ".avif" else imagecodecs.jpegxl_decode
    return decode(data).astype(np.float64) * (TOP / ((1 << bits) - 1))


def codes_of(light: NDArray[np.floating]) -> NDArray[np.float64]:
    """10-bit PQ codes, with fractions, of light in units of SDR white."""
    return pq_encode(np.maximum(light, 0) * SDR_WHITE_NITS) * TOP


def main() -> None:
    """Print a table."""
    parser = Parser(__doc__)
    parser.add_argument("pictures", nargs="*", type=existing_file, default=SAMPLES, metavar="PICTURE")
    arguments = parser.parse_args()
    print("| picture | file | KiB | mean | 99th percentile | mean where clipped |\n|---|---|---|---|---|---|")
    with load_engine(DEMO_MODEL) as engine, tempfile.TemporaryDirectory() as folder:
        peak = engine.info.metadata.peak
        for picture in arguments.pictures:
            frame = read_image(picture)
            linear = restore(frame, Runner(engine)).linear
            wanted, clipped = codes_of(linear * peak), frame.normalised().max(axis=-1) >= 254 / 255
            for name, suffix, options in CASES:
                path = Path(folder) / f"out{suffix}"
                write_image(path, linear, peak=peak, options=options, source=picture)
                off = np.abs(decoded(path, options.bits or 10) - wanted)
                where_clipped = f"{off[clipped].mean():.1f}" if clipped.any() else "-"
                figures = f"{off.mean():.1f} | {np.percentile(off, 99):.1f} | {where_clipped}"
                print(f"| {picture.name} | {name} | {path.stat().st_size // 1024} | {figures} |", flush=True)


if __name__ == "__main__":
    start(main)
