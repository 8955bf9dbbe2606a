"""From an exported ONNX file to a TensorRT engine with its sidecar."""
