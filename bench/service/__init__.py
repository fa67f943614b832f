"""Service as a whole, beside other servers of the same protocol, and C++ gRPC that does nothing but echo."""
