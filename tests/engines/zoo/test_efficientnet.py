from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnxruntime import InferenceSession as Session
from PIL import Image

from yais.engines.zoo import BuildError, efficientnet
from yais.engines.zoo.torchfile import read_state_dict

ROOT = Path(__file__).parents[3]
ESPRESSO = 967

Array = NDArray[Any]


@pytest.fixture(scope="module")
def fp32() -> onnx.ModelProto:
    return efficientnet.build(8)


@pytest.fixture(scope="module")
def fp32_session(fp32: onnx.ModelProto) -> Session:
    return Session(fp32.SerializeToString())


@pytest.fixture(scope="module")
def uint8_session() -> Session:
    return Session(efficientnet.build(8, "uint8").SerializeToString())


@pytest.fixture(scope="module")
def reference() -> dict[str, Array]:
    """What torch answers: data/make_reference.py."""
    return dict(np.load(Path(__file__).parent / "data" / "efficientnet_lite0.npz"))


@pytest.fixture(scope="module")
def coffee() -> Array:
    picture = Image.open(ROOT / "demo" / "coffee.jpg").convert("RGB")
    scale = 256 / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))


def run(session: Session, batch: Array) -> Array:
    (logits,) = session.run(["logits"], {"input": batch})
    return np.asarray(logits)


def normalised(pixels: Array) -> Array:
    """UINT8 (N, 224, 224, 3) as FP32 (N, 3, 224, 224)."""
    return (pixels.astype(np.float32).transpose(0, 3, 1, 2) - 127) / 128


def top(logits: Array) -> tuple[int, float]:
    odds = np.exp(logits - logits.max())
    return int(odds.argmax()), float(odds.max() / odds.sum())


def test_the_coffee_is_an_espresso(fp32_session: Session, coffee: Array) -> None:
    label, confidence = top(run(fp32_session, normalised(coffee[None]))[0])
    assert label == ESPRESSO
    assert confidence > 0.7


def test_the_coffee_is_an_espresso_as_it_is(uint8_session: Session, coffee: Array) -> None:
    label, confidence = top(run(uint8_session, coffee[None])[0])
    assert label == ESPRESSO
    assert confidence > 0.7


def test_the_variants_agree(fp32_session: Session, uint8_session: Session) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), np.uint8)
    np.testing.assert_allclose(run(uint8_session, pixels), run(fp32_session, normalised(pixels)), atol=1e-5)


def test_logits_of_the_picture_are_those_of_torch(fp32_session: Session, reference: dict[str, Array]) -> None:
    logits = run(fp32_session, normalised(reference["coffee_pixels"][None]))
    np.testing.assert_allclose(logits, reference["coffee_logits"], rtol=0, atol=1e-4)


def test_logits_of_noise_are_those_of_torch(fp32_session: Session, reference: dict[str, Array]) -> None:
    noise = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    np.testing.assert_allclose(run(fp32_session, noise), reference["normal_logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_row_of_a_batch_is_answered_as_if_alone(size: int, fp32_session: Session) -> None:
    batch = np.random.default_rng(size).standard_normal((size, 3, 224, 224)).astype(np.float32)
    together = run(fp32_session, batch)
    assert together.shape == (size, 1000)
    for index in range(size):
        np.testing.assert_allclose(together[index : index + 1], run(fp32_session, batch[index : index + 1]), atol=1e-4)


def test_the_normalisations_are_folded_away(fp32: onnx.ModelProto) -> None:
    operators = {node.op_type for node in fp32.graph.node}
    assert operators == {"Conv", "Clip", "Add", "GlobalAveragePool", "Flatten", "Gemm"}


def test_the_file_says_its_inputs_and_its_batch(fp32_session: Session, uint8_session: Session) -> None:
    for session, dtype, shape in (
        (fp32_session, "tensor(float)", ["batch", 3, 224, 224]),
        (uint8_session, "tensor(uint8)", ["batch", 224, 224, 3]),
    ):
        (source,), (result,) = session.get_inputs(), session.get_outputs()
        assert (source.name, source.type, source.shape) == ("input", dtype, shape)
        assert (result.name, result.type, result.shape) == ("logits", "tensor(float)", ["batch", 1000])
        assert session.get_modelmeta().custom_metadata_map == {"yais.max_batch_size": "8"}


def test_the_file_is_sound_and_old_enough(fp32: onnx.ModelProto) -> None:
    onnx.checker.check_model(fp32, full_check=True)
    assert fp32.ir_version <= 10


def test_weights_without_a_tensor_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_state_dict(efficientnet.weights_path())
    del whole["_blocks.7._bn1.running_var"]
    monkeypatch.setattr(efficientnet, "read_state_dict", lambda path: whole)
    with pytest.raises(BuildError, match=r"efficientnet-lite0.*\.pth lacks the tensor '_blocks\.7\._bn1\.running_var'"):
        efficientnet.build(8)
