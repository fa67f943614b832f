"""Plans for TensorRT out of ONNX models, and the command `engine-build`."""
