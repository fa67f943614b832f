"""Inspection of plans and ONNX files, and the command `engine-inspect`."""
