"""Engine ``cuda`` for gpu_check.py: its kernels, its results, its times and its memory."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gpu_frame_checks as frames
import gpu_measure as measure
import numpy as np
import torch

from dcdr_deploy.engines.base import EngineOptions
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.system import hardware

Size = tuple[int, int]

CHECKS = ("gpu_conv_checks", "gpu_dcrb_checks")
"""Modules whose ``run(sm)`` checks kernels one by one against torch and gives a line for each."""


@contextmanager
def opened() -> Iterator[Any]:
    """Give the engine with the demo weights."""
    from dcdr_deploy.engines.cuda.engine import load

    with load(DEMO_MODEL, EngineOptions(device="cuda")) as engine:
        yield engine


def wrong_kernels() -> float:
    """Check the kernels one by one; return how many are wrong."""
    sm = hardware.compute_capabilities()[0]
    lines = [line for name in CHECKS for line in importlib.import_module(name).run(sm)]
    wrong = [line for line in lines if not line.startswith("ok")]
    print("\n".join(wrong))
    return float(len(wrong))


def psnr(size: Size) -> float:
    """PSNR in dB of the engine against the launches computed by torch in FP32, a full scale of 1.0."""
    picture = frames.codes((1, *size))
    with opened() as engine:
        found = torch.from_numpy(np.ascontiguousarray(engine.infer_codes(picture))).to(measure.GPU)
    return frames.psnr(found, frames.reference_network()(frames.planes(picture)))


def device_times(size: Size) -> list[float]:
    """Milliseconds on the device of frames, from codes there to floats there."""
    shape = (1, *size)
    picture = frames.codes(shape)
    with opened() as engine:
        engine.infer_codes(picture)
        network, slot = engine._network, engine._tiles._slots[0]
        with torch.cuda.stream(torch.cuda.ExternalStream(int(network.stream.handle))):
            return measure.device_times(lambda: network.enqueue(shape, picture.dtype, slot["in"], slot["out"]))


def half_times(size: Size) -> list[float]:
    """Milliseconds on the device of frames of video that the network sees at half their size.

    A frame's planes, which are there, are averaged down, the network runs, and what it found, as it was put there,
    becomes samples of the whole frame; what the processor does of the working size in between is not counted.
    """
    from gpu_passes import launches  # brings OpenCV

    cells = size[0] // 2, size[1] // 2
    shape = (1, *cells)
    picture = frames.codes(shape)
    with opened() as engine:
        engine.infer_codes(picture)
        network, slot = engine._network, engine._tiles._slots[0]
        average, finish = launches(engine.passes(), size, cells)
        stream = int(network.stream.handle)

        def frame() -> None:
            average(stream)
            network.enqueue(shape, picture.dtype, slot["in"], slot["out"])
            finish(stream)

        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            return measure.device_times(frame)


def host_times(size: Size) -> list[float]:
    """Milliseconds of frames from host memory to host memory, one after the other."""
    picture = frames.codes((1, *size))
    with opened() as engine:
        batch = engine.empty_codes(picture.shape, picture.dtype)
        batch[...] = picture
        return measure.host_times(lambda: engine.infer_codes(batch))


def memory(size: Size) -> float:
    """Gigabytes that a frame takes on the GPU."""
    with opened() as engine:
        before = torch.cuda.mem_get_info()[0]
        engine.infer_codes(frames.codes((1, *size)))
        return (before - torch.cuda.mem_get_info()[0]) / 1e9


def half_block_times(height: int, width: int) -> list[float]:
    """Milliseconds of half a block from hidden maps: a deformable convolution with all that is done in its epilogue."""
    from gpu_dcrb_block import Block

    from dcdr_deploy.engines.cuda.compiler import compile_cubin, target_sm
    from dcdr_deploy.engines.cuda.dcrb_from_hidden import SOURCE, FromHiddenKernels

    sm = target_sm(hardware.compute_capabilities()[0])
    kernels, block = FromHiddenKernels({sm: compile_cubin(SOURCE, sm)}), Block(1, height, width, 1.0)
    arguments = block.arguments()
    return [time / 2 for time in measure.device_times(lambda: kernels.launch(arguments, measure.stream()))]
