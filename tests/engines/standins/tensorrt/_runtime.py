"""TensorRT's runtime: engines out of plans, on the device that is current."""

import json
from typing import Any

import simulation
import simulation.driver as cuda
from simulation import errors
from simulation.errors import CudaError
from simulation.machine import Device, has_driver
from simulation.networks import Network, Shapes
from simulation.plans import About, PlanError, check_device, decode

from tensorrt._base import Dims, ILogger
from tensorrt._context import IExecutionContext, reserved
from tensorrt._enums import (
    TYPES,
    DataType,
    ExecutionContextAllocationStrategy,
    LayerInformationFormat,
    Severity,
    TensorFormat,
    TensorIOMode,
    TensorLocation,
)

# The driver that CUDA 12 needs at least.
_OLDEST_DRIVER = 12000


def check_driver(logger: ILogger) -> None:
    """As the constructors of TensorRT: without a GPU and its driver they make nothing."""
    code = 35 if not has_driver() or simulation.machine().driver_version < _OLDEST_DRIVER else 0
    code = code or (0 if simulation.machine().devices else errors.NO_DEVICE)
    if code:
        logger.log(
            Severity.ERROR,
            f"CUDA initialization failure with error: {code}. Please check your CUDA installation:  "
            "http://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html",
        )
        raise TypeError("pybind11::init(): factory function returned nullptr")


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        if not isinstance(logger, ILogger):
            raise TypeError("__init__(): incompatible constructor arguments.")
        check_driver(logger)
        self.logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: Any) -> "ICudaEngine | None":
        data = bytes(memoryview(serialized_engine))
        try:
            about, model = decode(data)
            device = cuda.current_device()
            device.check("deserialize")
            check_device(about, device.capability)
            if about.has_host_code and not self.engine_host_code_allowed:
                raise PlanError("Cannot deserialize engine with lean runtime: engineHostCodeAllowed is false")
            return ICudaEngine(self, about, Network(model), device)
        except (PlanError, CudaError) as error:
            self.logger.log(Severity.ERROR, told(error))
            return None


def told(error: Exception) -> str:
    """What TensorRT logs of an error."""
    if not isinstance(error, CudaError):
        return str(error)
    if error.code == errors.OUT_OF_MEMORY:
        return "Error Code 2: OutOfMemory (Requested size is more than what is free: out of memory)"
    return f"Error Code 1: Cuda Runtime ({errors.RESULTS[error.code][1]})"


class ICudaEngine:
    """Has its weights on the device."""

    def __init__(self, runtime: Runtime, about: About, network: Network, device: Device) -> None:
        self._runtime = runtime
        self._about = about
        self._network = network
        self._device = device
        self._weights = reserved(device, len(network.data), f"weights of {about.name}")
        self._names = [*network.inputs, *network.outputs]

    @property
    def name(self) -> str:
        return self._about.name

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    @property
    def num_layers(self) -> int:
        return len(self._network.model.graph.node)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._about.profiles)

    @property
    def device_memory_size_v2(self) -> int:
        return max(self.get_device_memory_size_for_profile_v2(index) for index in range(self.num_optimization_profiles))

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        bounds = self._about.profiles[profile_index]
        return self._activations(tuple((name, tuple(shapes[2])) for name, shapes in bounds.items()))

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        if name not in self._names:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if name in self._network.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return TYPES[self._tensor(name).elem_type]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._tensor(name).shape)

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.DEVICE

    def get_tensor_format(self, name: str, profile_index: int = 0) -> TensorFormat:
        return TensorFormat.LINEAR

    def is_shape_inference_io(self, name: str) -> bool:
        return False

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        if name not in self._network.inputs or not 0 <= profile_index < self.num_optimization_profiles:
            self._log(f"ICudaEngine::getProfileShape: Error Code 3: API Usage Error ({name!r} has no such profile)")
            return []
        return [Dims(shape) for shape in self._about.profiles[profile_index][name]]

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC
    ) -> IExecutionContext | None:
        try:
            self._check_device()
            cuda.current_device().check("create_execution_context")
            return IExecutionContext(self, strategy)
        except CudaError as error:
            self._log(told(error))
            return None

    def create_engine_inspector(self) -> "EngineInspector":
        return EngineInspector(self)

    def _tensor(self, name: str) -> Any:
        found = self._network.inputs.get(name) or self._network.outputs.get(name)
        if found is None:
            self._log(f"ICudaEngine: Error Code 3: API Usage Error (no input or output tensor is called {name})")
            raise RuntimeError(f"the stand-in has no tensor {name}")
        return found

    def _activations(self, shapes: Shapes) -> int:
        """Bytes for inputs of these shapes; more for larger ones, and never none."""
        size = sum(self._network.inputs[name].nbytes(shape) for name, shape in shapes)
        return -(-max(1, 2 * size) // 512) * 512

    def _check_device(self) -> None:
        if cuda.current_device() is not self._device or self._weights.generation != self._device.generation:
            raise CudaError(errors.INVALID_HANDLE)

    def _log(self, text: str, severity: Severity = Severity.ERROR) -> None:
        self._runtime.logger.log(severity, text)


class EngineInspector:
    """Says of each layer no more than its name, unless the plan was built to tell more."""

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self.execution_context: IExecutionContext | None = None

    def get_engine_information(self, format: LayerInformationFormat) -> str:  # noqa: A002
        layers = [self._layer(index) for index in range(self._engine.num_layers)]
        if format is LayerInformationFormat.JSON:
            return json.dumps({"Layers": layers, "Bindings": self._engine._names})
        lines = [layer if isinstance(layer, str) else layer["Name"] for layer in layers]
        return "\n".join(["Layers:", *lines, "", "Bindings:", *self._engine._names]) + "\n"

    def get_layer_information(self, layer_index: int, format: LayerInformationFormat) -> str:  # noqa: A002
        layer = self._layer(layer_index)
        return json.dumps(layer) if format is LayerInformationFormat.JSON else str(layer)

    def _layer(self, index: int) -> Any:
        node = self._engine._network.model.graph.node[index]
        name = node.name or f"node_of_{node.output[0]}"
        if self._engine._about.verbosity != "DETAILED":
            return name
        return {
            "Name": name,
            "LayerType": node.op_type,
            "Inputs": [{"Name": each, "Location": "Device"} for each in node.input],
            "Outputs": [{"Name": each, "Location": "Device"} for each in node.output],
            "Metadata": f"[ONNX Layer: {node.name}]",
        }
