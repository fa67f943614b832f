"""The whole service beside other servers of the same protocol, and beside C++ gRPC that does nothing but echo."""
