"""HDR-VDP-2.2 in numpy: visibility of differences and quality of pictures in cd/m2."""

from dcdr_deploy.metrics.hdrvdp2.model import MINIMUM_SIZE, VERSION, Result, hdrvdp2
from dcdr_deploy.metrics.hdrvdp2.parameters import COLOR_ENCODINGS, Options

__all__ = ["COLOR_ENCODINGS", "MINIMUM_SIZE", "VERSION", "Options", "Result", "hdrvdp2"]
