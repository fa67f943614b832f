"""What is served over gRPC: ordinary generated servicers, which any transport with grpcio's interface can carry."""
