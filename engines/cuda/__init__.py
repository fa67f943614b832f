"""CUDA: devices and their memory, streams, events and graphs."""
