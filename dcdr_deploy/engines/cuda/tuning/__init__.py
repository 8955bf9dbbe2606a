"""Which kernels are fastest on the GPU at hand: what may be tried, how it is measured, and what is kept of it."""
