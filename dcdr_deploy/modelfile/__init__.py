"""What travels with weights: metadata, ONNX header, sidecar of an engine. Needs neither torch nor onnx."""
