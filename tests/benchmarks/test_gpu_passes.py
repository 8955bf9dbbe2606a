"""The measurement of passes over whole frames: what it compares, with the processor's passes in the GPU's place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("av")
import gpu_passes as script

from dcdr_deploy.engines.passes import Averaged, Finished
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.light import PQ, Light
from dcdr_deploy.run.dials import NEUTRAL
from dcdr_deploy.run.ready import tables_for
from dcdr_deploy.run.strips import SecondPass, average_down
from dcdr_deploy.run.video.yuv import from_rgb, to_rgb

SIZE = (72, 1024)


class Processor:
    """Passes that only work for the script's frame; ``off`` codes are added to their samples."""

    def __init__(self, off: int) -> None:
        self._off = off

    def _rgb(self, samples):
        return to_rgb(samples.planes, script.IN, script.LUMA, full_range=False)

    def average(self, samples, clipping, size):
        found = average_down(self._rgb(samples), tables_for(16, NEUTRAL), size)
        return Averaged(found.light, found.weight, found.clipped, gray=False)

    def finish(self, samples, clipping, field, signal, planes):
        rgb = self._rgb(samples)
        second = SecondPass(rgb, rgb, tables_for(16, NEUTRAL), NEUTRAL, script.PEAK)
        linear = second.from_field(script.field_of(field.shape[:2])).linear
        signal, _ = Delivery(Light(transfer=PQ), script.PEAK).signals(linear)
        from_rgb(cv2.split(signal), script.OUT, out=planes)
        planes[0][...] += np.uint16(self._off)
        return Finished(np.zeros(1600, np.int64), 0, 0.0, 0.0)


@pytest.mark.parametrize("off", [0, 3])
def test_the_table_says_how_long_and_how_far_apart(off: int):
    found = script.rows(Processor(off), SIZE, seconds=0)
    assert [(row.name, row.difference) for row in found] == [("average", 0), ("finish", off)]
    assert all(min(row.alone, row.together, row.processor) > 0 for row in found)
    head, _, *lines = script.table(found).splitlines()
    assert len(lines) == 2
    assert {line.count("|") for line in lines} == {head.count("|")}
    assert lines[1].startswith("| 1024x72 | finish |")
    assert lines[1].endswith(f"| {off} |")
