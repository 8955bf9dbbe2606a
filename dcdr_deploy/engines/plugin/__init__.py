"""The fused DCRB: its CUDA kernels, how they are compiled and launched, and the TensorRT plugin around them."""
