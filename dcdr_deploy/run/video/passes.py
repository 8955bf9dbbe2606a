"""A frame of video as the passes of an engine's device take it: its samples, what their codes mean, and the signal."""

from __future__ import annotations

import numpy as np

from dcdr_deploy.engines.passes import Clipping, Samples, Signal
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.run.dials import Dials
from dcdr_deploy.run.gain import least_clipped, most_of_gray
from dcdr_deploy.run.ready import tables_for
from dcdr_deploy.run.video.yuv import Layout, Luma, Plane, decoding_matrix, encoding_matrix

CODE_BITS = 16
"""Of the codes of R'G'B' that planes become."""


def samples_of(planes: tuple[Plane, ...], layout: Layout, luma: Luma, *, full_range: bool) -> Samples:
    """Return decoded planes Y', Cb and Cr, or Y' alone, with the numbers of :func:`~dcdr_deploy.run.video.yuv.to_rgb`."""
    matrix = decoding_matrix(layout.bits, luma, full_range=full_range)
    return Samples(planes, matrix, layout.across, layout.down, layout.centred, layout.level)


def clipping_of(dials: Dials) -> Clipping:
    """Return what codes of 16 bits mean where the network's result is put on as the dials say."""
    tables = tables_for(CODE_BITS, dials)
    return Clipping(tables.light, tables.weight, least_clipped(np.uint16), most_of_gray(np.uint16))


def signal_of(delivery: Delivery, layout: Layout, dials: Dials, peak: float) -> Signal:
    """Return how restored light becomes samples.

    Args:
        delivery: into PQ or HLG.
        layout: of the samples.
        dials: that only change the exposure (``is_neutral``).
        peak: light of a network value of 1, in units of SDR white.
    """
    curves = delivery.curves
    samples, offsets = encoding_matrix(layout.bits)
    return Signal(
        factor=2**dials.exposure / peak,
        matrix=curves.matrix,
        knee=curves.knee,
        roll=curves.roll,
        transfer=curves.transfer,
        scene=curves.scene,
        luminance=curves.luminance,
        samples=samples,
        offsets=offsets,
        across=layout.across,
        down=layout.down,
    )
