"""TensorRT 10 and 11, and TensorRT-RTX: one code for all of them, since their Python modules differ in little."""
