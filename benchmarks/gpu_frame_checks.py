"""Whether frames of engine ``cuda`` are right: every launch and every result against torch in FP32."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from frame_reference import parameters, walk
from gpu_measure import picture
from torch import Tensor

from dcdr_deploy.engines.cuda.launches import Form
from dcdr_deploy.engines.cuda.picture import PictureArguments
from dcdr_deploy.engines.cuda.program import frame_of
from dcdr_deploy.engines.cuda.weights import read_onnx
from dcdr_deploy.run.selection import DEMO_MODEL
from dcdr_deploy.system.faults import one_line

Shape = tuple[int, int, int]
"""Images, rows and columns of a frame."""

LEAST_PSNR = 70.0
"""Decibels of a frame's result against FP32."""

STEP_BOUND = 5e-3
"""Largest error of a launch, of its map's largest value."""


class Failures:
    """Runs pieces one after the other and keeps what went wrong."""

    def __init__(self, seconds: float) -> None:
        self.count = 0
        self._end = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds left."""
        return self._end - time.perf_counter()

    @contextmanager
    def piece(self, name: str) -> Iterator[None]:
        """Count and print what goes wrong in the block."""
        try:
            yield
        except Exception as error:  # whatever goes wrong must not cost the others their lines
            self.count += 1
            print(f"FAILED {name}: {type(error).__name__}: {one_line(error)}", flush=True)


def reference_network() -> Callable[[Tensor], Tensor]:
    """Return the network in FP32 on the GPU, with torch's own operators."""
    weights = read_onnx(DEMO_MODEL)
    layers, frame = parameters(weights, "cuda"), frame_of(weights, Form())

    def forward(image: Tensor) -> Tensor:
        maps: dict[str, Tensor] = {}
        for _, written in walk(frame, layers, image):
            maps = written  # no list of them all, which would keep their memory
        return maps["result"]

    return forward


def codes(shape: Shape) -> np.ndarray:
    """A picture for every image, (N, H, W, 3) uint8, C-contiguous as decoders give it."""
    plane = (picture(shape[1], shape[2])[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    pictures = [np.roll(plane, 37 * number, axis=1) for number in range(shape[0])]
    return np.ascontiguousarray(np.stack(pictures))  # stack keeps the order of the planes that this is made of


def planes(picture: np.ndarray) -> Tensor:
    """Return codes as the network sees them, (N, 3, H, W) in [0, 1] on the GPU."""
    return torch.from_numpy(picture).cuda().permute(0, 3, 1, 2).float() / 255


def check_launches(device: Any, network: Any, shape: Shape, failures: Failures) -> None:
    """Run a small frame launch by launch; name the first that is wrong."""
    kernels, stream = network._kernels, network.stream
    frame = network._frame
    picture = codes(shape)
    reference = planes(picture)
    network.prepare([shape])
    bound, arena = network._bound[shape], network._arena
    places = {name: arena.address + at for name, at in bound.program.memory.offsets.items()}
    source = torch.from_numpy(picture).cuda()
    result = torch.empty((*shape, 3), dtype=torch.float32, device="cuda")
    torch.cuda.synchronize()
    places["result"] = result.data_ptr()
    bound_launches = bound.program.bind(arena.address, network._weights.address, network._packed, result.data_ptr())
    kernels.read(
        PictureArguments(np.dtype(np.uint8), source.data_ptr(), places["image"], places["small"], shape),
        int(stream.handle),
    )
    stream.synchronise()

    def fetch(name: str) -> np.ndarray:
        each = frame.maps[name]
        size = (shape[0], shape[1] // each.scale, shape[2] // each.scale, each.channels)
        host = device.allocate_pinned(each.size(shape))
        stream.download(host, SimpleNamespace(address=places[name]), each.size(shape))
        stream.synchronise()
        values = host.view(size, np.float16 if each.element == 2 else np.float32).astype(np.float32)
        host.free()
        return values.transpose(0, 3, 1, 2)

    worst, wrong = 0.0, []
    back = device.allocate_pinned(picture.nbytes)
    stream.download(back, SimpleNamespace(address=source.data_ptr()), picture.nbytes)
    stream.synchronise()
    if not (back.view(picture.shape, np.uint8) == picture).all():
        wrong.append("the picture on the GPU")
    image = float(np.abs(fetch("image")[:, :3] - reference.cpu().numpy()).max())
    if not image <= STEP_BOUND:
        wrong.append(f"image {image:.1e}")
    for (launch, written), arguments in zip(
        walk(frame, parameters(read_onnx(DEMO_MODEL), "cuda"), reference), bound_launches, strict=True
    ):
        kernels.launch(arguments, int(stream.handle))
        stream.synchronise()
        for name, expected in written.items():
            there = expected.cpu().numpy()
            found = fetch(name)[:, : there.shape[1]]
            error = float(np.abs(found - there).max() / max(np.abs(there).max(), 1e-6))
            worst = max(worst, error) if np.isfinite(error) else error
            if not error <= STEP_BOUND:
                wrong.append(f"{launch.name}/{name} {error:.1e}")
    failures.count += bool(wrong)
    word, first = ("WRONG", "; ".join(wrong[:6])) if wrong else ("ok", "")
    print(f"{word} launches {shape}: largest error {worst:.1e} of the largest value; {first}", flush=True)


def psnr(found: Tensor, expected: Tensor) -> float:
    """PSNR in dB, of a full scale of 1.0."""
    return float(-10 * torch.log10((found - expected).double().square().mean()))


def check_results(name: str, calls: Sequence[Tensor], expected: Tensor, failures: Failures, note: str = "") -> None:
    """Compare a frame's result with torch's in FP32, and its calls with each other, which have to be equal to the bit.

    Args:
        name: of what is checked, for the line that is printed.
        calls: results of the same frame, (N, 3, H, W): launch by launch, recorded, replayed.
        expected: what torch computes.
        failures: told where something is wrong.
        note: ends the line.
    """
    first, *others = calls
    decibels = psnr(first, expected)
    same = all(torch.equal(first, other) for other in others)
    right = decibels >= LEAST_PSNR and same
    failures.count += not right
    print(
        f"{'ok' if right else 'WRONG'} {name}: {decibels:.1f} dB against FP32, "
        f"largest error {float((first - expected).abs().max()):.1e} of {float(expected.abs().max()):.2f}, "
        f"calls {'equal' if same else 'DIFFER'}{note}",
        flush=True,
    )
