"""ONNX Runtime: its sessions and contexts, on the CPU and, where TensorRT is missing, on GPUs."""
