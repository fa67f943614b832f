"""The service: command line, life cycle, gRPC services, queue, batches, context pool and metrics."""
