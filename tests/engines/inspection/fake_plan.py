"""Plan as TensorRT would have loaded it, with the interface of its ICudaEngine."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

from yais.engines.tensorrt.library import Features, Library


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(Enum):
    DEVICE = 0
    HOST = 1


class LayerInformationFormat(Enum):
    ONELINE = 0
    JSON = 1


class Name(str):
    """What has a name, as the members of TensorRT's enumerations do."""

    @property
    def name(self) -> str:
        return str(self)


@dataclass
class FakeTensor:
    mode: TensorIOMode
    dtype: str
    shape: tuple[int, ...]
    bounds: tuple[tuple[tuple[int, ...], ...], ...] = ()
    location: TensorLocation = TensorLocation.DEVICE


@dataclass
class FakeEngine:
    tensors: dict[str, FakeTensor]
    layers: list[Any] = field(default_factory=list)
    name: str = "classifier"
    activations: tuple[int, ...] = (1000, 2000)
    refittable: bool = False
    num_aux_streams: int = 2
    streamable_weights_size: int = 3_000_000
    get_engine_stat: Callable[[], int] = lambda: 5_000_000

    hardware_compatibility_level = Name("AMPERE_PLUS")
    engine_capability = Name("STANDARD")
    profiling_verbosity = Name("DETAILED")

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.activations)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self.tensors[name].mode

    def get_tensor_dtype(self, name: str) -> Name:
        return Name(self.tensors[name].dtype)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def get_tensor_format(self, name: str) -> Name:
        return Name("LINEAR")

    def get_tensor_location(self, name: str) -> TensorLocation:
        return self.tensors[name].location

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert self.tensors[name].mode == TensorIOMode.INPUT
        return list(self.tensors[name].bounds[profile_index])

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return self.activations[profile_index]

    def create_engine_inspector(self) -> "FakeInspector":
        return FakeInspector(self.layers)


class FakeInspector:
    def __init__(self, layers: list[Any]) -> None:
        self._layers = layers

    def get_layer_information(self, layer_index: int, kind: LayerInformationFormat) -> str:
        assert kind == LayerInformationFormat.JSON
        return json.dumps(self._layers[layer_index])


class FakeRuntime:
    def get_engine_validity(self, buffer: bytes) -> tuple[Name, int]:
        return Name("SUBOPTIMAL"), 0


def fake_library(checks_validity: bool = False) -> Library:
    module: Any = SimpleNamespace(
        __version__="11.4.0.10",
        TensorIOMode=TensorIOMode,
        TensorLocation=TensorLocation,
        LayerInformationFormat=LayerInformationFormat,
    )
    return Library("tensorrt", module, Features(False, True, checks_validity, True, False))


def classifier() -> FakeEngine:
    """Two profiles; an input of pictures, one of values on the host, an output."""
    pictures = (((1, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8)), ((1, 3, 16, 16), (1, 3, 16, 16), (2, 3, 16, 16)))
    return FakeEngine(
        {
            "image": FakeTensor(TensorIOMode.INPUT, "HALF", (-1, 3, -1, -1), pictures),
            "sizes": FakeTensor(TensorIOMode.INPUT, "INT64", (2,), location=TensorLocation.HOST),
            "logits": FakeTensor(TensorIOMode.OUTPUT, "FLOAT", (-1, 10)),
        },
        [{"Name": "conv + relu", "LayerType": "CaskConvolution", "Outputs": []}, "reformat"],
    )
