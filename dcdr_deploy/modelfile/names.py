"""What model files, kernels and backends agree on by name and number, each once."""

from __future__ import annotations

DOMAIN = "dcdr"
"""Of our ONNX operators, of the plugin, of torch's library; the prefix of our metadata."""

DOMAIN_VERSION = 1
DCRB, DEFORM_CONV = "DCRB", "DeformConv2d"
"""Our operators: a deformable residual block behind its offset and SFT maps (eq. 4), and one deformable convolution."""

DCRB_INPUTS = ("z", "offset", "s1", "t1", "s2", "t2", "w1", "b1", "w2", "b2")
DEFORM_INPUTS = ("x", "offset", "w", "b")

INPUT_NAME, OUTPUT_NAME = "sdr", "hdr"
"""Of a network in an ONNX file that we export, and in the engines made from it."""

WIDTH = 64
"""Feature maps of the paper's network at full size; the only width that the kernels are written for."""

OFFSET_CHANNELS = 18
"""Two coordinates for each of the 3x3 taps (section 3.1.2)."""

SIZE_MULTIPLE = 4
"""Two halvings: height and width of an input must be multiples of 4."""

DECODING = "decoding/"
"""Beginning of the names of nodes that decode a network's output, which are computed in FP32 in FP16 files too."""

ONNX_SUFFIX, ENGINE_SUFFIX = ".onnx", ".engine"
SAFETENSORS_SUFFIX = ".safetensors"
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", SAFETENSORS_SUFFIX)
"""Of the files that hold a network; lower case."""
