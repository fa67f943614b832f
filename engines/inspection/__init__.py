"""What a plan or an ONNX file holds."""
