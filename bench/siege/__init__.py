"""Load generator siege: how much one process sends, how punctually, and what its records keep."""
