"""The convolutions compile by NVRTC without a GPU and without spills, and fit into what they are meant for."""

from __future__ import annotations

import pytest
from cubin import most_local_bytes, resource_usage

from dcdr_deploy.engines.cuda import compiler
from dcdr_deploy.engines.cuda.convolution_table import PREFIX, RINGS, SHARED_MEMORY, variants
from dcdr_deploy.errors import MissingDependency

REGISTERS = 64 * 1024
"""Of a multiprocessor, in all generations."""

pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")
try:
    KNOWN = [int(sm) for sm in compiler._call(compiler._load_nvrtc(), "nvrtcGetSupportedArchs")]
    compiler._include_folder()
except MissingDependency as missing:
    pytest.skip(str(missing), allow_module_level=True)


@pytest.mark.slow
@pytest.mark.parametrize("sm", [75, 80, 86, 90, 100, 120])  # the other SMs are these ones' relatives
def test_the_convolutions_compile_without_spills(sm):
    if sm not in KNOWN:
        pytest.skip(f"this NVRTC does not know SM{sm}")
    usage = resource_usage(compiler.compile_text(compiler.source_text("convolution", sm), sm, "convolution.cu"))
    table = {PREFIX + key: variant for key, variant in variants(sm).items()}
    assert set(usage) == {*table, RINGS}
    spilled = {name: each.local_bytes for name, each in usage.items() if each.local_bytes > most_local_bytes()}
    assert spilled == {}
    for name, variant in table.items():
        assert usage[name].registers * variant.shape.threads * variant.blocks <= REGISTERS


@pytest.mark.parametrize("sm", SHARED_MEMORY)
def test_every_kernel_fits_into_shared_memory_as_often_as_it_fits_into_the_registers(sm):
    for key, variant in variants(sm).items():
        assert variant.shape.shared_bytes <= SHARED_MEMORY[sm] * 1024, key
        # A multiprocessor has a KiB for the system beside each block's.
        together = variant.blocks * (variant.shape.shared_bytes + 1024)
        assert together <= (SHARED_MEMORY[sm] + 1) * 1024, key
