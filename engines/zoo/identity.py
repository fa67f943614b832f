"""Identity, a model that gives back what it is given: what is left of a request's cost is the service's own."""

from onnx import ModelProto

from yais.engines.zoo.graph import GraphWriter, tensor


def build(max_batch_size: int) -> ModelProto:
    graph = GraphWriter("identity")
    # The names that Triton's own examples use.
    graph.add("Identity", "INPUT0", output="OUTPUT0")
    return graph.model(tensor("INPUT0", ["length"]), tensor("OUTPUT0", ["length"]), max_batch_size)
