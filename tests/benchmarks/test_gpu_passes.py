"""The measurement of passes over whole frames: what it compares, with the processor's passes in the GPU's place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("av")
import gpu_passes as script
from fake_cuda import DEVICE_BASE, OK, FakeDriver

from dcdr_deploy.engines.cuda.driver import Library
from dcdr_deploy.engines.cuda.memory import Device
from dcdr_deploy.engines.cuda.video import FramesOnDevice, VideoKernels
from dcdr_deploy.engines.passes import Averaged, Finished
from dcdr_deploy.imaging.delivery import Delivery
from dcdr_deploy.imaging.light import PQ, Light
from dcdr_deploy.run.dials import NEUTRAL
from dcdr_deploy.run.preprocessing import tables_for
from dcdr_deploy.run.strips import SecondPass, average_down
from dcdr_deploy.run.video.yuv import from_rgb, to_rgb

SIZE = (72, 1024)


class Processor:
    """Passes that only work for the script's frame; ``off`` codes are added to their samples."""

    def __init__(self, off: int) -> None:
        self._off = off

    def _rgb(self, samples):
        return to_rgb(samples.planes, script.IN, script.BT709_LUMA, full_range=False)

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
    found = list(script.rows(Processor(off), SIZE, seconds=0))
    assert [(row.name, row.difference) for row in found] == [("average", 0), ("finish", off)]
    assert all(min(row.alone, row.together, row.processor) > 0 for row in found)
    lines = [script.shown(row) for row in found]
    assert [len(line) for line in lines] == [len(script.HEAD)] * 2
    assert lines[1][:2] == ["1024x72", "finish"]
    assert lines[1][-1] == str(off)


class SettlingDriver(FakeDriver):
    """Does all that is under way before memory goes, as the driver does."""

    def cuMemFreeHost(self, address: int) -> tuple:  # noqa: N802 - the driver's name
        for stream in self._streams:
            self.cuStreamSynchronize(stream)
        return super().cuMemFreeHost(address)


def test_a_frame_of_odd_size_goes_through_both_passes():
    driver = SettlingDriver(run=lambda launch: OK)
    passes = FramesOnDevice(Device(0, driver), VideoKernels(Library(driver, b"cubin")))
    script.put_through(passes, (67, 93), (34, 46))
    assert [launch.kernel for launch in driver.launches] == ["average_planes8", "finish_planes8"]


def test_the_kernels_alone_are_launched_again_where_their_frame_lies():
    driver = SettlingDriver(run=lambda launch: OK)
    device = Device(0, driver)
    passes = FramesOnDevice(device, VideoKernels(Library(driver, b"cubin")))
    again = script.launches(passes, SIZE, (36, 512))
    before, stream = list(driver.launches[-2:]), device.create_stream()
    for launch in again:
        launch(int(stream.handle))
    found = driver.launches[-2:]
    assert [launch.kernel for launch in found] == ["average_planes8", "finish_planes8"]
    assert [launch.stream for launch in found] == [int(stream.handle)] * 2
    assert [launch.values for launch in found] == [launch.values for launch in before]
    addresses = [value for launch in found for value in launch.values if value >= DEVICE_BASE]
    assert all(any(base <= value < base + len(block) for base, block in driver._blocks.items()) for value in addresses)
    passes.average(
        script.samples_of(script.frame_of(SIZE), script.IN, script.BT709_LUMA, full_range=False),
        script.clipping_of(NEUTRAL),
        (36, 512),
    )  # as before: nothing is recorded any more
    assert len(again) == 2
