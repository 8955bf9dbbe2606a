"""Pictures: reading SDR, writing HDR, colour, previews and statistics.

Importing this package loads numpy only; OpenCV, Pillow and OpenEXR load with the first picture.
"""

from dcdr_deploy.imaging.decoders.common import MAX_PIXELS
from dcdr_deploy.imaging.formats import SUFFIXES
from dcdr_deploy.imaging.frame import Frame
from dcdr_deploy.imaging.preview import preview_sdr, write_preview
from dcdr_deploy.imaging.read import probe, read_image
from dcdr_deploy.imaging.statistics import white_units_summary
from dcdr_deploy.imaging.transfer import LUMINANCE_REC709, linear_to_srgb, luminance, srgb_to_linear
from dcdr_deploy.imaging.write import OUTPUT_SUFFIXES, WriteOptions, check_output, write_image

__all__ = [
    "LUMINANCE_REC709",
    "MAX_PIXELS",
    "OUTPUT_SUFFIXES",
    "SUFFIXES",
    "Frame",
    "WriteOptions",
    "check_output",
    "linear_to_srgb",
    "luminance",
    "preview_sdr",
    "probe",
    "read_image",
    "srgb_to_linear",
    "white_units_summary",
    "write_image",
    "write_preview",
]
