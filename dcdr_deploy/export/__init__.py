"""Checkpoint to ONNX: operators, functions, FP16, verification; needs torch and onnx (extra ``export``)."""
