"""Catalogue of the models that `engine-build` makes, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from yais.engines.zoo import BuildError


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model, and the module of this package whose `build` makes it.

    `max_batch_size` is the largest batch unless another is asked for, 0 for a model without a batch dimension.
    `options` are the keywords that `build` takes besides.
    """

    module: str
    summary: str
    max_batch_size: int
    options: frozenset[str] = frozenset()

    def build(self, max_batch_size: int, options: Mapping[str, Any]) -> bytes:
        """The bytes of the ONNX file. Raises `BuildError` when a package is missing, or the weights are unreadable."""
        try:
            # Imported late: onnx and the weights are optional packages, and a list of names needs neither.
            builder = import_module(f"yais.engines.zoo.{self.module}")
            model = builder.build(max_batch_size, **options)
        except ModuleNotFoundError as error:
            raise BuildError(f"the package {error.name} is missing: pip install 'yais[build]'") from error
        # The same model is the same bytes, so that a plan cache finds it again.
        return bytes(model.SerializeToString(deterministic=True))


CATALOGUE = {
    "efficientnet-lite0": Recipe(
        "efficientnet", "EfficientNet-Lite0, an image classifier with its ImageNet weights", 8, frozenset({"pixels"})
    ),
    "identity": Recipe("identity", "gives back FP32 values, as many as you like", 0),
    "mlp": Recipe("mlp", "a perceptron, 64 to 256 to 10, with seeded weights", 64, frozenset({"seed"})),
    "resnet50": Recipe("resnet", "ResNet-50 v1.5 with seeded weights", 8, frozenset({"seed"})),
}
