"""Stand-in of PyCUDA, on simulated GPUs. As in the real one, `pycuda.driver` has to be imported for itself."""

VERSION = (2026, 1)
VERSION_TEXT = "2026.1"
