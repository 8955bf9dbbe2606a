"""Our kernels and what launches them: driver, memory, compiler, ``*.cu``. No TensorRT, no torch."""
