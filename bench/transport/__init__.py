"""Transport, the native one beside C++ gRPC and grpc.aio: as server and as client."""
