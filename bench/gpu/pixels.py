"""ResNet-50 for pictures as they are: the normalisation that senders do for the zoo's model, put in front of it."""

import onnx
from onnx import ModelProto, TensorProto, helper

from yais.engines.zoo.catalogue import CATALOGUE

_SIDE = 224
_SOURCE = "input"


def resnet50(max_batch_size: int) -> bytes:
    """From UINT8 (N, 224, 224, 3), each pixel x as (x - 127) / 128, as EfficientNet-Lite0 takes them."""
    model = onnx.load_from_string(CATALOGUE["resnet50"].build(max_batch_size, {}))
    _rename_input(model, "normalised")
    # TensorRT lets nothing but a cast read a UINT8 input.
    nodes = [
        helper.make_node("Cast", [_SOURCE], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=(0, 3, 1, 2)),
        helper.make_node("Sub", ["planes", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["normalised"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    for name, value in (("mean", 127.0), ("scale", 1 / 128)):
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
    return bytes(model.SerializeToString(deterministic=True))


def _rename_input(model: ModelProto, name: str) -> None:
    for node in model.graph.node:
        node.input[:] = [name if each == _SOURCE else each for each in node.input]
    shape: list[int | str | None] = ["batch", _SIDE, _SIDE, 3]
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info(_SOURCE, TensorProto.UINT8, shape))
