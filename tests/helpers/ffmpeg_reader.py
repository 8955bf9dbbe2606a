"""Pictures read by FFmpeg's own decoders, through PyAV: a reader that wrote none of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcdr_deploy.run.video.package import side_data_of


def read_by_ffmpeg(path: Path) -> tuple[np.ndarray, Any]:
    """Samples as stored, (H, W, 3) in the order R, G, B; and the frame with its tags."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    if frame.format.name.startswith(("gbrpf", "gbrapf")):
        kind = "<f2" if "16" in frame.format.name else "<f4"
        green, blue, red = (
            np.frombuffer(bytes(plane), kind).reshape(frame.height, -1)[:, : frame.width] for plane in frame.planes[:3]
        )
        return np.stack([red, green, blue], axis=-1), frame
    return frame.to_ndarray()[..., :3].astype(np.uint16), frame


def mastering_display(frame: Any) -> dict[str, tuple[float, ...]]:
    """Chromaticities of R, G, B and white, and luminances in cd/m2, as FFmpeg holds them (AVRational by AVRational)."""
    data = bytes(side_data_of(frame)["MASTERING_DISPLAY_METADATA"])
    numbers = np.frombuffer(data[:80], "<i4").reshape(10, 2)
    values = tuple(float(Fraction(int(a), int(b))) for a, b in numbers)
    return {"primaries": values[:6], "white": values[6:8], "least": values[8:9], "most": values[9:10]}


def content_light(frame: Any) -> tuple[int, int]:
    """MaxCLL and MaxFALL in whole cd/m2."""
    data = bytes(side_data_of(frame)["CONTENT_LIGHT_LEVEL"])
    most, mean = np.frombuffer(data[:8], "<u4")
    return int(most), int(mean)
