"""Engine ``cuda`` on one NVIDIA GPU: right results, and where the time of a frame goes. One command, below 90 seconds.

    python benchmarks/gpu_network.py [--seconds 85] [--parts convolution,block,forms,network]

Needs torch with CUDA, numpy and the packages of the extra ``cuda-kernels``; this repository need not be installed.
Every part runs in a process of its own: an illegal access of one does not cost the others their results.

- ``convolution``, ``block``: the kernels one by one against torch (gpu_conv_checks.py, gpu_dcrb_checks.py);
- ``forms``: the ways of cutting a frame into launches, side by side, and which is fastest (gpu_forms.py);
- ``network``: every launch of a small frame against torch in FP32, the whole network at several sizes, times on the
  device by graph replays, from host to host, launch by launch, and the torch backend in the same run.

Exit code: 0 done, 1 a result was wrong or a part failed.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - needs the path
from command_line import Parser, above_zero, need_gpu, start  # noqa: E402

CHECKS = {"convolution": "gpu_conv_checks", "block": "gpu_dcrb_checks"}
PARTS = (*CHECKS, "forms", "network")
CHECK_SECONDS = 18.0
SIZES = ((1, 256, 256), (2, 360, 644), (1, 720, 1280), (1, 1080, 1920), (1, 2160, 3840))
STEP_SIZES = ((2, 68, 92), (1, 256, 320))
TIMED = ((1, 1080, 1920), (1, 2160, 3840))


def main() -> int:
    parser = Parser(__doc__)
    parser.add_argument("--seconds", type=above_zero, default=85.0, help="time for everything")
    parser.add_argument("--parts", default=",".join(PARTS), help="what to run, with commas between them")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part in CHECKS:
        return run_checks(CHECKS[options.part])
    if options.part == "forms":
        return run_forms(options.seconds)
    if options.part:
        return run_network(options.seconds)
    need_gpu()
    end = time.perf_counter() + options.seconds
    compile_all()
    failed = 0
    for part in options.parts.split(","):
        left = end - time.perf_counter()
        limit = min(left, CHECK_SECONDS) if part in CHECKS else left
        print(f"== {part}", flush=True)
        command = [sys.executable, __file__, "--part", part, "--seconds", f"{limit - 4:.0f}"]
        try:
            code = subprocess.run(command, timeout=limit, check=False).returncode
        except subprocess.TimeoutExpired:
            print(f"FAILED {part}: stopped after {limit:.0f} s", flush=True)
            code = 1
        if code:
            failed += 1
            print(f"-- {part}: exit code {code}", flush=True)
    print(f"done, {end - time.perf_counter():.0f} s left")
    return 1 if failed else 0


def compile_all() -> None:
    """Compile the kernels for this GPU into the cache, sources beside each other, and say how long it took."""
    from dcdr_deploy.engines.cuda import dcrb_from_maps
    from dcdr_deploy.engines.cuda.compiler import compile_cubin, target_sm
    from dcdr_deploy.engines.cuda.network import SOURCES
    from dcdr_deploy.system import hardware

    sm = target_sm(hardware.compute_capabilities()[0])

    def compiled(source: str) -> str:
        started = time.perf_counter()
        size = len(compile_cubin(source, sm))
        return f"{source} {time.perf_counter() - started:.1f} s ({size >> 10} KiB)"

    with ThreadPoolExecutor() as pool:
        print(
            f"SM{sm}, driver CUDA {hardware.cuda_driver_version()}: "
            + ", ".join(pool.map(compiled, (*SOURCES, dcrb_from_maps.SOURCE)))
        )


def run_checks(name: str) -> int:
    """Run one module of checks; print those that are wrong, and the worst of the others by name."""
    from dcdr_deploy.system import hardware

    lines = importlib.import_module(name).run(hardware.compute_capabilities()[0])
    wrong = [line for line in lines if not line.startswith("ok")]
    print("\n".join(line[:160] for line in wrong[:25]))
    print(f"{len(lines) - len(wrong)} of {len(lines)} right; for example {lines[len(lines) // 2]}", flush=True)
    return 1 if wrong else 0


def run_forms(seconds: float) -> int:
    """Compare the ways of cutting a frame into launches."""
    import torch
    from gpu_forms import run
    from gpu_frame_checks import Failures

    from dcdr_deploy.engines.cuda.engine import load
    from dcdr_deploy.run.selection import DEMO_MODEL

    failures = Failures(seconds)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_grad_enabled(False)
    with load(DEMO_MODEL) as engine:
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
        run(engine, failures)
    return 1 if failures.count else 0


def run_network(seconds: float) -> int:
    """Check and time the whole network."""
    import torch
    from gpu_frame_checks import Failures, check_launches, check_results, codes, planes, reference_network
    from gpu_frame_times import profile, time_copies, time_network, time_torch

    from dcdr_deploy.engines.cuda.engine import load
    from dcdr_deploy.run.selection import DEMO_MODEL

    failures = Failures(seconds)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_grad_enabled(False)
    started = time.perf_counter()
    engine = load(DEMO_MODEL)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; loaded in {time.perf_counter() - started:.1f} s")
    for shape in STEP_SIZES:
        with failures.piece(f"launches {shape}"):
            check_launches(engine._device, engine._network, shape, failures)
    net = reference_network()
    for shape in SIZES:
        with failures.piece(f"network {shape}"):
            picture = codes(shape)
            results = [torch.from_numpy(np.ascontiguousarray(engine.infer_codes(picture))).cuda() for _ in range(3)]
            check_results(f"network {shape}", results, net(planes(picture)), failures)
            del results
            torch.cuda.empty_cache()
    del net
    torch.cuda.empty_cache()
    with failures.piece("copies"):
        time_copies(engine)
    device: dict[tuple[int, int, int], float] = {}
    for shape in TIMED:
        with failures.piece(f"times {shape}"):
            device[shape] = time_network(engine, shape)
    for shape in reversed(TIMED):
        with failures.piece(f"profile {shape}"):
            profile(engine, shape, table=shape == TIMED[-1])
    engine.close()
    torch.cuda.empty_cache()
    for shape in reversed(TIMED):
        with failures.piece(f"torch {shape}"):
            time_torch(shape, device.get(shape), compiled=False)
    for shape in TIMED:
        if failures.left > 20:
            with failures.piece(f"torch.compile {shape}"):
                time_torch(shape, device.get(shape), compiled=True, limit=failures.left - 3)
    return 1 if failures.count else 0


if __name__ == "__main__":
    start(main)
