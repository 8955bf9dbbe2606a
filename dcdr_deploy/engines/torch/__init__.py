"""The reference in PyTorch, with the fused block and CUDA graphs."""
