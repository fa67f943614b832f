"""Extension modules of the gRPC front end."""
