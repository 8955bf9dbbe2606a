"""Run a block by the real cuda.bindings: ``launch_by_bindings.py SM INPUTS.npz RESULT.npy``.

The libcuda that the bindings find is a stand-in (emulator/libcuda.cpp). A process of its own does this, because the
bindings keep the libcuda that they found first.
"""

from __future__ import annotations

import sys

import numpy as np

from dcdr_deploy.engines.cuda.dcrb_from_maps import FromMapsArguments, FromMapsKernels
from dcdr_deploy.errors import EngineError

sm, inputs, result = int(sys.argv[1]), sys.argv[2], sys.argv[3]
arrays = dict(np.load(inputs))
count, height, width, _ = arrays["z"].shape
for name in ("out", "workspace"):
    arrays[name] = np.full_like(arrays["z"], np.nan)
pointers = {name: array.ctypes.data for name, array in arrays.items()}
strides = (18 * height * width, height * width, 1)
call = FromMapsArguments(count, height, width, fp16=True, **pointers, offset_strides=strides)
FromMapsKernels({sm: b"\x7fELF"}).launch(call, stream=0x77)
np.save(result, arrays["out"])
try:
    FromMapsKernels({sm: b"damaged"}).prepare()
except EngineError as error:
    print(error)
