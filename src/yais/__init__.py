"""A gRPC inference service for TensorRT and ONNX models, with clients that measure it."""

__version__ = "0.1.0"
