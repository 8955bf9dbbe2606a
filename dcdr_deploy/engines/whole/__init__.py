"""Whole networks in our own kernels."""
