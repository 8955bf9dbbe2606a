"""Check the kernels of ``convolution.cu`` on a GPU against PyTorch in FP32: ``run(sm)`` returns a line for each."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from convolution_cases import (
    CASES,
    Case,
    Problem,
    filled,
    in_planes,
    inputs,
    output_shape,
    packed,
    problem,
    reference,
    relative_error,
    rings,
)
from torch import Tensor

from dcdr_deploy.engines.cuda.compiler import compile_cubin
from dcdr_deploy.engines.cuda.convolution import ConvolutionArguments, ConvolutionKernels
from dcdr_deploy.engines.cuda.convolution_table import Variant, variants
from dcdr_deploy.engines.cuda.tuning.session import BOUND

SIZES = [(1, 1, 1), (2, 17, 19), (1, 5, 67), (1, 34, 3), (3, 133, 251)]
_MARGIN = 4096
_POISON = float("nan")


class Loaded:
    """A problem on the GPU: its tensors, poisoned outputs between margins, and the arguments that point to them.

    Its scratch memory is large enough for kernels of the measures given.
    """

    def __init__(self, given: Problem, measures: Iterable[Variant]) -> None:
        case = given.case
        self.given = given
        self._shape, dtype = output_shape(case, given.size)
        self._count = int(torch.Size(self._shape).numel())
        length, device = self._count + 2 * _MARGIN, given.x.device
        self._outputs = [torch.full((length,), _POISON, dtype=dtype, device=device) for _ in range(1 + case.second)]
        self._kept = {name: torch.from_numpy(values).to(device) for name, values in packed(given).items()}
        for name in inputs(case):
            self._kept[name] = getattr(given, name).permute(0, 2, 3, 1).contiguous()
        scratch = max(rings(given, variant) for variant in measures)
        self._kept["rings"] = torch.full((scratch // 4,), _POISON, device=device)
        pointers = {name: tensor.data_ptr() for name, tensor in self._kept.items()}
        for name, tensor in zip(("out", "second"), self._outputs, strict=False):
            pointers[name] = tensor[_MARGIN:].data_ptr()
        self.arguments: ConvolutionArguments = filled(given, pointers)

    def results(self) -> list[Tensor]:
        """The one or two results, (N, C, H, W)."""
        inner = [each[_MARGIN : _MARGIN + self._count].view(self._shape) for each in self._outputs]
        return [in_planes(self.given.case, each) for each in inner]

    def margins_are_whole(self) -> bool:
        """Whether nothing was written around the outputs."""
        return all(bool(part.isnan().all()) for each in self._outputs for part in (each[:_MARGIN], each[-_MARGIN:]))


def error(kernels: ConvolutionKernels, sm: int, case: Case, size: tuple[int, int, int]) -> float:
    """Largest relative error of a case's results; infinite where a kernel writes outside its output."""
    loaded = Loaded(problem(case, size, device="cuda"), variants(sm).values())
    kernels.launch(loaded.arguments, torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()
    if not loaded.margins_are_whole():
        return float("inf")
    wanted = reference(loaded.given)
    errors = [relative_error(result, each) for result, each in zip(loaded.results(), wanted, strict=True)]
    return max(errors) if all(each == each for each in errors) else float("nan")


def run(sm: int) -> list[str]:
    """Check every case at small and odd sizes; return lines that begin with "ok" or "WRONG"."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    kernels = ConvolutionKernels({sm: compile_cubin("convolution", sm)})
    lines = []
    for name, case in CASES.items():
        errors = {size: error(kernels, sm, case, size) for size in SIZES}
        worst = max(errors, key=lambda size: (errors[size] != errors[size], errors[size]))
        verdict = "ok" if errors[worst] <= BOUND else "WRONG"
        at = "x".join(map(str, worst))
        lines.append(f"{verdict} convolution, {name}: relative error {errors[worst]:.1e} at {at}")
    return lines
