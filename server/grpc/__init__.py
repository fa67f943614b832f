"""gRPC front end: ordinary generated servicers, which any transport with grpcio's interface can carry."""
