from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime import InferenceSession as Session

from yais.engines.zoo import identity, mlp, resnet

Array = NDArray[Any]


def session_of(model: onnx.ModelProto) -> Session:
    return Session(model.SerializeToString())


def weights_of(model: onnx.ModelProto) -> list[Array]:
    return [numpy_helper.to_array(weight) for weight in model.graph.initializer]


@pytest.fixture(scope="module")
def resnet50() -> onnx.ModelProto:
    return resnet.build(8)


@pytest.fixture(scope="module")
def resnet50_session(resnet50: onnx.ModelProto) -> Session:
    return session_of(resnet50)


def pictures(count: int) -> Array:
    return np.random.default_rng(count).standard_normal((count, 3, 224, 224)).astype(np.float32)


@pytest.mark.parametrize("length", [0, 1, 16, 100_000])
def test_identity_gives_back_any_length(length: int) -> None:
    values = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    (answer,) = session_of(identity.build(0)).run(["OUTPUT0"], {"INPUT0": values})
    np.testing.assert_array_equal(answer, values)


def test_identity_has_one_free_dimension_and_no_batch() -> None:
    session = session_of(identity.build(0))
    (source,), (result,) = session.get_inputs(), session.get_outputs()
    assert (source.name, source.type, source.shape) == ("INPUT0", "tensor(float)", ["length"])
    assert (result.name, result.type, result.shape) == ("OUTPUT0", "tensor(float)", ["length"])
    assert session.get_modelmeta().custom_metadata_map == {"yais.max_batch_size": "0"}


@pytest.mark.parametrize("size", [1, 7, 64])
def test_mlp_computes_its_two_layers(size: int) -> None:
    model = mlp.build(64)
    first, first_bias, second, second_bias = weights_of(model)
    assert first.shape == (256, 64)
    assert second.shape == (10, 256)
    batch = np.random.default_rng(size).standard_normal((size, 64)).astype(np.float32)
    (answer,) = session_of(model).run(["OUTPUT0"], {"INPUT0": batch})
    expected = np.maximum(batch @ first.T + first_bias, 0) @ second.T + second_bias
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_mlp_says_its_largest_batch() -> None:
    session = session_of(mlp.build(64))
    assert session.get_inputs()[0].shape == ["batch", 64]
    assert session.get_outputs()[0].shape == ["batch", 10]
    assert session.get_modelmeta().custom_metadata_map == {"yais.max_batch_size": "64"}


def test_resnet50_has_as_many_weights_as_the_original(resnet50: onnx.ModelProto) -> None:
    # 25 557 032 published parameters, of which a folded normalisation leaves one bias for its two.
    assert sum(weight.size for weight in weights_of(resnet50)) == 25_557_032 - 26_560


def test_resnet50_strides_where_version_one_and_a_half_does(resnet50: onnx.ModelProto) -> None:
    sizes = {weight.name: tuple(weight.dims) for weight in resnet50.graph.initializer}
    strided = [
        sizes[node.input[1]]
        for node in resnet50.graph.node
        if node.op_type == "Conv" and any(a.name == "strides" and a.ints[0] == 2 for a in node.attribute)
    ]
    blocks = [
        shape
        for width in (128, 256, 512)
        for shape in ((width, width, 3, 3), (4 * width, 2 * width, 1, 1))  # The shortcut's is the only strided 1x1.
    ]
    assert strided == [(64, 3, 7, 7), *blocks]


def test_resnet50_has_sixteen_blocks(resnet50: onnx.ModelProto) -> None:
    operators = [node.op_type for node in resnet50.graph.node]
    assert (operators.count("Conv"), operators.count("Add"), operators.count("Relu")) == (53, 16, 49)


@pytest.mark.parametrize("size", [1, 3])
def test_resnet50_answers_sane_logits(size: int, resnet50_session: Session) -> None:
    (logits,) = resnet50_session.run(["logits"], {"input": pictures(size)})
    assert logits.shape == (size, 1000)
    assert np.isfinite(logits).all()
    assert 0.1 < logits.std() < 10


def test_resnet50_answers_each_row_as_if_alone(resnet50_session: Session) -> None:
    batch = pictures(2)
    (together,) = resnet50_session.run(["logits"], {"input": batch})
    (alone,) = resnet50_session.run(["logits"], {"input": batch[1:]})
    np.testing.assert_allclose(together[1:], alone, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_resnet50_says_its_input_and_its_batch(resnet50_session: Session) -> None:
    (source,), (result,) = resnet50_session.get_inputs(), resnet50_session.get_outputs()
    assert (source.name, source.type, source.shape) == ("input", "tensor(float)", ["batch", 3, 224, 224])
    assert (result.name, result.type, result.shape) == ("logits", "tensor(float)", ["batch", 1000])
    assert resnet50_session.get_modelmeta().custom_metadata_map == {"yais.max_batch_size": "8"}


def test_resnet50_is_the_same_every_time(resnet50: onnx.ModelProto) -> None:
    assert resnet.build(8) == resnet50


def test_the_seed_decides_the_weights() -> None:
    assert mlp.build(64) == mlp.build(64, seed=0)
    assert mlp.build(64) != mlp.build(64, seed=1)


@pytest.mark.parametrize("model", [identity.build(0), mlp.build(64)], ids=["identity", "mlp"])
def test_small_files_are_sound_and_old_enough(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 10


def test_resnet50_is_sound_and_old_enough(resnet50: onnx.ModelProto) -> None:
    onnx.checker.check_model(resnet50, full_check=True)
    assert resnet50.ir_version <= 10
