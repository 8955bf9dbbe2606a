"""The text of a VapourSynth script: a head of what is known of the model, and a body that is always the same.

The body does what `dcdr-deploy run` does at scale native: Y'CbCr to R'G'B' by the clip's tags, the network at every
pixel, its light x peak, and light to PQ in BT.2020 with SDR white at the reference white.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcdr_deploy._version import __version__

BACKENDS = {
    "ort": "network_path",
    "ov": "network_path",
    "trt": "engine_path",
    "trt_rtx": "engine_path",
}
"""Functions of vs-mlrt, and the name of their argument that takes the model."""


@dataclass(frozen=True)
class Script:
    """What a script says.

    Attributes:
        backend: of :data:`BACKENDS`.
        model: absolute path of what it loads.
        peak: linear value of a network output of 1.0, in units of SDR white.
        multiple: of which width and height must be multiples.
        overlap: pixels of context on each side of a tile.
        tile: (height, width) of a tile, ``None`` for whole frames.
        reference_white: cd/m2 of SDR white.
        source: the video where none is given to the script.
    """

    backend: str
    model: str
    peak: float
    multiple: int
    overlap: int
    tile: tuple[int, int] | None
    reference_white: float
    source: str


_BODY = '''
import vapoursynth as vs

core = vs.core


def opened(path):
    """The clip, by whichever source filter is there."""
    if hasattr(core, "bs"):
        return core.bs.VideoSource(path)
    if hasattr(core, "lsmas"):
        return core.lsmas.LWLibavSource(path)
    return core.ffms2.Source(path)


clip = globals().get("clip") or opened(str(globals().get("source", SOURCE)))
props = clip.get_frame(0).props
if props.get("_Transfer", 2) in (16, 18):
    raise ValueError("the source is HDR already")
if clip.format.color_family == vs.YUV and props.get("_Matrix", 2) == 2:  # not tagged
    is_hd = clip.width >= 1280 or clip.height > 576
    clip = core.std.SetFrameProps(clip, _Matrix=1 if is_hd else 6)

# Y'CbCr to R'G'B' of 0 to 1: the network takes samples as they are coded. Edges are repeated up to whole tiles.
rgb = core.resize.Bicubic(clip, format=vs.RGBS)
rgb = core.std.Expr(rgb, "x 0 max 1 min")
width, height = rgb.width, rgb.height


def padded(length, tile):
    """The next length that the network takes."""
    return max(-(-length // MULTIPLE) * MULTIPLE, tile)


wide, high = padded(width, TILE[0] if TILE else 0), padded(height, TILE[1] if TILE else 0)
if (wide, high) != (width, height):
    rgb = core.resize.Point(rgb, width=wide, height=high, src_width=wide, src_height=high)
tiling = {"tilesize": list(TILE), "overlap": [OVERLAP, OVERLAP]} if TILE and TILE != (wide, high) else {}
light = NETWORK(rgb, **tiling)
light = core.std.CropAbs(light, width=width, height=height)

# Linear light in units of SDR white, Rec. 709; then PQ, where SDR white is REFERENCE_WHITE cd/m2 (BT.2408: luma 573).
light = core.std.Expr(light, f"x {PEAK} * 0 max")
light = core.std.SetFrameProps(light, _Matrix=0, _Transfer=8, _Primaries=1)
pq = core.resize.Bicubic(
    light,
    format=vs.YUV420P10,
    transfer_in_s="linear",
    primaries_in_s="709",
    matrix_s="2020ncl",
    transfer_s="st2084",
    primaries_s="2020",
    range_s="limited",
    chromaloc_s="top_left",  # ITU-T H.265, E.3.1
    nominal_luminance=REFERENCE_WHITE,
    dither_type="error_diffusion",
)
pq.set_output()
'''


def script_text(script: Script) -> str:
    """Return the script; it compiles wherever the strings in it are Python's."""
    argument = BACKENDS[script.backend]
    tile = None if script.tile is None else script.tile[::-1]  # VapourSynth's order
    head = f'''"""SDR video to PQ, BT.2020, 10 bits. Written by dcdr-deploy {__version__}.

    vspipe -c y4m -a source=film.mkv THIS.vpy - | ffmpeg -i - -i film.mkv -map 0:v -map 1:a? -c:a copy \\\\
        -c:v libx265 -pix_fmt yuv420p10le -x265-params \\\\
        hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:chromaloc=2 film.hdr.mkv
"""

SOURCE = {script.source!r}
MODEL = {script.model!r}
PEAK = {script.peak!r}  # linear value of a network output of 1, in units of SDR white
REFERENCE_WHITE = {script.reference_white!r}  # cd/m2 of SDR white
MULTIPLE = {script.multiple!r}  # of which width and height must be multiples
OVERLAP = {script.overlap!r}  # pixels of context on each side of a tile
TILE = {tile!r}  # width and height; None: whole frames


def NETWORK(clip, **tiling):
    """vs-mlrt's {script.backend}; further arguments of it belong here."""
    return core.{script.backend}.Model(clip, {argument}=MODEL, **tiling)

'''
    return head + _BODY
