"""All eight orientations, in every format that carries one."""

import numpy as np
import pytest
from picture_files import chunk, noise, pillow_bytes, png_bytes, smooth_rgb, tifffile_bytes
from PIL import Image

from dcdr_deploy.imaging import read_image

# Where the stored first row and first column are in the upright picture (Exif 2.32, tag Orientation):
# position of the stored pixel (row 0, column 0) and (row 0, last column) as (vertical edge, horizontal edge).
CORNERS = {
    1: (("top", "left"), ("top", "right")),
    2: (("top", "right"), ("top", "left")),
    3: (("bottom", "right"), ("bottom", "left")),
    4: (("bottom", "left"), ("bottom", "right")),
    5: (("top", "left"), ("bottom", "left")),
    6: (("top", "right"), ("bottom", "right")),
    7: (("bottom", "right"), ("top", "right")),
    8: (("bottom", "left"), ("top", "left")),
}
INDEX = {"top": 0, "left": 0, "bottom": -1, "right": -1}


def exif(orientation):
    block = Image.Exif()
    block[274] = orientation
    return block.tobytes()


def oriented(kind, orientation):
    eight, deep = smooth_rgb(), noise(3)
    match kind:
        case "PNG;16":
            return deep, png_bytes(deep, 2, chunk(b"eXIf", exif(orientation)[6:]))
        case "TIFF;16":
            return deep, tifffile_bytes(deep, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        case "TIFF":
            return eight, tifffile_bytes(eight, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        case "WEBP":
            return eight, pillow_bytes(eight, kind, exif=exif(orientation), lossless=True)
        case _:
            return eight, pillow_bytes(eight, kind, exif=exif(orientation))


@pytest.mark.parametrize("orientation", CORNERS)
@pytest.mark.parametrize("kind", ["PNG", "PNG;16", "TIFF", "TIFF;16", "WEBP", "JPEG"])
def test_stored_corners_land_where_exif_says(tmp_path, kind, orientation):
    stored, data = oriented(kind, orientation)
    path = tmp_path / "picture"
    path.write_bytes(data)
    frame = read_image(path)
    expected_size = stored.shape[:2] if orientation < 5 else stored.shape[1::-1]
    assert frame.size == expected_size
    assert frame.metadata["orientation"] == orientation
    assert frame.pixels.flags.c_contiguous
    tolerance = 12 if kind == "JPEG" else 0
    for corner, (vertical, horizontal) in zip((stored[0, 0], stored[0, -1]), CORNERS[orientation], strict=True):
        found = frame.pixels[INDEX[vertical], INDEX[horizontal]].astype(int)
        assert np.abs(found - corner).max() <= tolerance


def test_alpha_is_turned_with_the_picture(tmp_path):
    rgba = np.dstack([smooth_rgb(), noise(1, np.uint8)])
    path = tmp_path / "picture.png"
    path.write_bytes(pillow_bytes(rgba, "PNG", exif=exif(6)))
    frame = read_image(path)
    np.testing.assert_array_equal(frame.alpha, np.rot90(rgba[..., 3], -1).astype(np.float32) / 255)


@pytest.mark.parametrize("block", [exif(0), exif(9), b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\xff\xff"])
def test_senseless_exif_leaves_the_picture_as_it_is(tmp_path, block):
    path = tmp_path / "picture.png"
    path.write_bytes(png_bytes(smooth_rgb(), 2, chunk(b"eXIf", block[6:]), depth=8))
    np.testing.assert_array_equal(read_image(path).pixels, smooth_rgb())
    path.write_bytes(pillow_bytes(smooth_rgb(), "JPEG", exif=block))
    assert read_image(path).size == smooth_rgb().shape[:2]
