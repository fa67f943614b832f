"""Statistics of a run: pure functions of its records, without I/O."""
