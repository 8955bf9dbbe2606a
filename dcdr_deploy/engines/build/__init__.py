"""From an ONNX file to a TensorRT or TensorRT-RTX engine: graph preparation, network, child process, sidecar, gate."""
