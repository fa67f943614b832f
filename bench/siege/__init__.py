"""siege itself: how much one process of it sends, how punctually, and what its records cost."""
