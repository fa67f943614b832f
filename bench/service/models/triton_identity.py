"""Identity for Triton's Python backend."""

from typing import Any

import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        return [_echo(pb.get_input_tensor_by_name(request, "INPUT0")) for request in requests]


def _echo(tensor: Any) -> Any:
    return pb.InferenceResponse([pb.Tensor("OUTPUT0", tensor.as_numpy())])
