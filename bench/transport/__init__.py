"""The native transport beside C++ gRPC and grpc.aio, as server and as client."""
