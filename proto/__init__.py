"""The wire contracts: KServe's inference protocol v2 with Triton's extensions, and how tensors lie in its messages."""
