"""The perceptron of `engine-build mlp` for Triton's Python backend: all requests of a batch in one run."""

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"], args["model_version"])
        # In the order in which `servers.py` writes them.
        self._hidden, self._hidden_bias, self._output, self._output_bias = np.load(folder / "weights.npz").values()

    def execute(self, requests: list[Any]) -> list[Any]:
        rows = [pb.get_input_tensor_by_name(request, "INPUT0").as_numpy() for request in requests]
        hidden = np.maximum(np.concatenate(rows) @ self._hidden + self._hidden_bias, 0)
        answers = hidden @ self._output + self._output_bias
        # Each request has as many rows of the answer as it brought.
        ends = np.cumsum([len(each) for each in rows])[:-1]
        return [pb.InferenceResponse([pb.Tensor("OUTPUT0", answer)]) for answer in np.split(answers, ends)]
