"""What this tool has written is known again, and what others have is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcdr_deploy.errors import InputError
from dcdr_deploy.imaging import write_image
from dcdr_deploy.imaging.carried import Carried
from dcdr_deploy.imaging.own import THIS_TOOL, check_replaced
from dcdr_deploy.imaging.writers.base import WriteOptions

PLAIN = (".png", ".tif", ".exr", ".hdr")
"""Formats without a quality."""


@pytest.mark.parametrize("suffix", [".png", ".tif", ".avif", ".heic", ".jxl", ".jpg", ".exr", ".hdr"])
def test_what_this_tool_wrote_is_known_again_in_every_format(tmp_path: Path, suffix: str) -> None:
    """With metadata, and larger than what is looked at of a file."""
    noise = np.random.default_rng(0).random((480, 480, 3), np.float32)
    Image.fromarray((noise * 255).astype(np.uint8)).save(tmp_path / "in.png")
    output = tmp_path / f"out{suffix}"
    options = WriteOptions(quality=100) if suffix not in PLAIN else WriteOptions()
    carried = Carried(xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', iptc=bytes(5000))
    texts = {"software": THIS_TOOL}
    write_image(output, noise, peak=8, options=options, metadata=texts, carried=carried, source=tmp_path / "in.png")
    assert output.stat().st_size > 2**18
    check_replaced(output)
    output.write_bytes(output.read_bytes().replace(b"dcdr-deploy", b"another one"))
    with pytest.raises(InputError, match="has not written"):
        check_replaced(output)


@pytest.mark.parametrize("head", [b"\0\0\0\x18ftypqt  ", b"\0\0\0\x08wide", b"\x1a\x45\xdf\xa3"])
def test_a_video_of_others_is_kept_and_ours_known_by_what_stands_far_in(tmp_path: Path, head: bytes) -> None:
    output = tmp_path / "film.mp4"
    output.write_bytes(head + bytes(2**20))
    with pytest.raises(InputError, match=r"film\.mp4: is a video that dcdr-deploy has not written"):
        check_replaced(output)
    output.write_bytes(head + bytes(2**20) + THIS_TOOL.encode() + bytes(2**20))
    check_replaced(output)


def test_what_is_no_picture_by_its_content_makes_room_for_an_exr(tmp_path: Path) -> None:
    output = tmp_path / "out.exr"
    output.write_bytes(b"cut short")
    check_replaced(output)
