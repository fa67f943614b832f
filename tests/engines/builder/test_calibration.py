import logging
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from engines.builder.precision_models import Array, check, operators, rows, run
from onnx import ModelProto, TensorProto, numpy_helper
from PIL import Image

from yais.engines.builder.build import BuildOptions, build_plan
from yais.engines.builder.calibration import fit_picture, quantize
from yais.engines.builder.options import Precision
from yais.engines.builder.precision import convert
from yais.engines.tensorrt.library import Library
from yais.engines.zoo import BuildError, efficientnet, mlp

COFFEE = Path(__file__).parents[3] / "demo" / "coffee.jpg"
ESPRESSO = 967
VARIANTS = {"fp32": efficientnet.build, "uint8": partial(efficientnet.build, pixels="uint8")}


def crops(seed: int, count: int) -> Iterator[Image.Image]:
    """Parts of the demo's picture: a cup of coffee on a table with a spoon."""
    rng = np.random.default_rng(seed)
    with Image.open(COFFEE) as picture:
        for _ in range(count):
            side = int(min(picture.size) * rng.uniform(0.6, 1))
            left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
            yield picture.convert("RGB").crop((left, top, left + side, top + side))


def batch(model: ModelProto, made: Iterator[Image.Image], folder: Path) -> dict[str, Array]:
    folder.mkdir()
    for index, each in enumerate(made):
        each.save(folder / f"{index:02}.png")
    (source,) = model.graph.input
    uint8 = source.type.tensor_type.elem_type == TensorProto.UINT8
    dtype, shape = (np.dtype(np.uint8), (-1, 224, 224, 3)) if uint8 else (np.dtype(np.float32), (-1, 3, 224, 224))
    fitted = [fit_picture(path, dtype, shape, "lite") for path in sorted(folder.iterdir())]
    return {source.name: np.stack([each for each in fitted if each is not None])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve crops, some in a folder of their own, beside a file that is none."""
    made = tmp_path_factory.mktemp("pictures")
    (made / "more").mkdir()
    (made / "labels.txt").touch()
    for index, picture in enumerate(crops(0, 12)):
        picture.save(made / ("more" if index % 2 else "") / f"{index:02}.png")
    return made


@pytest.fixture(scope="module", params=VARIANTS)
def classifier(request: pytest.FixtureRequest, folder: Path) -> tuple[ModelProto, ModelProto]:
    """EfficientNet-Lite0, and the same quantised."""
    model = VARIANTS[request.param](8)
    return model, quantize(model, folder, 12)


def test_the_quantised_classifier_agrees_with_the_original(
    classifier: tuple[ModelProto, ModelProto], tmp_path: Path
) -> None:
    model, quantised = classifier
    feeds = batch(model, crops(1, 16), tmp_path / "seen")
    (expected,), (answer,) = run(model, feeds), run(quantised, feeds)
    assert np.mean(expected.argmax(axis=1) == answer.argmax(axis=1)) >= 0.85
    assert 0.01 < np.abs(answer - expected).mean() < 0.25
    with Image.open(COFFEE) as picture:
        whole = batch(model, iter([picture]), tmp_path / "whole")
    assert run(quantised, whole)[0].argmax() == ESPRESSO


def test_activations_and_weights_are_symmetric_and_biases_are_not_quantised(
    classifier: tuple[ModelProto, ModelProto],
) -> None:
    _, quantised = classifier
    check(quantised)
    weights = {each.name: each for each in quantised.graph.initializer}
    made_by = {name: node for node in quantised.graph.node for name in node.output}
    for node in (each for each in quantised.graph.node if each.op_type in ("Conv", "Gemm")):
        data, kernel = (made_by[name] for name in node.input[:2])
        channels = weights[kernel.input[0]].dims[0]
        assert weights[kernel.input[0]].data_type == TensorProto.INT8
        assert list(weights[kernel.input[1]].dims) == [channels]
        assert weights[node.input[2]].data_type == TensorProto.FLOAT
        assert made_by[data.input[0]].op_type == "QuantizeLinear"
        for each in (data, kernel):
            assert not numpy_helper.to_array(weights[each.input[2]]).any()


def test_nothing_stands_between_a_layer_and_what_is_fused_into_it(classifier: tuple[ModelProto, ModelProto]) -> None:
    model, quantised = classifier
    readers = {name: node.op_type for node in quantised.graph.node for name in node.input}
    convolutions = [node.output[0] for node in quantised.graph.node if node.op_type == "Conv"]
    assert [readers[name] for name in convolutions].count("Clip") == 33
    assert operators(quantised).count("QuantizeLinear") == 50
    kinds = ("QuantizeLinear", "DequantizeLinear")
    assert sorted(each for each in operators(quantised) if each not in kinds) == sorted(operators(model))


def test_the_model_says_of_itself_what_it_did(classifier: tuple[ModelProto, ModelProto]) -> None:
    model, quantised = classifier
    assert (quantised.graph.input, quantised.graph.output) == (model.graph.input, model.graph.output)
    assert (quantised.metadata_props, quantised.producer_name) == (model.metadata_props, model.producer_name)
    assert (quantised.opset_import, quantised.graph.name) == (model.opset_import, model.graph.name)


@pytest.mark.parametrize("precision", ["int8", "fp16", "bf16"])
def test_tensorrt_builds_what_was_quantised(
    precision: Precision, classifier: tuple[ModelProto, ModelProto], rtx: Library, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(convert(classifier[1], precision).SerializeToString())
    assert build_plan(path, BuildOptions(capabilities=("8.0",)), rtx)


def test_nothing_is_left_behind_nor_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.chdir(tmp_path)
    model = efficientnet.build(8)
    quantize(model, folder, 1)
    assert list(tmp_path.iterdir()) == []
    assert logging.root.handlers == []
    assert capfd.readouterr() == ("", "")
    assert model == efficientnet.build(8)


def test_where_logs_are_kept_nothing_is_said_either(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    quantize(mlp.build(64), perceptron_samples(tmp_path, 2), 2)
    assert [record.getMessage() for record in caplog.records] == []


def perceptron_samples(folder: Path, count: int) -> Path:
    for index, row in enumerate(rows(count, 64)):
        # With the batch dimension and without.
        np.save(folder / f"{index:02}.npy", row if index % 2 else row[np.newaxis])
    return folder


def test_a_model_that_takes_no_pictures_is_calibrated_on_arrays(tmp_path: Path) -> None:
    model = mlp.build(64)
    quantised = quantize(model, perceptron_samples(tmp_path, 32), 32)
    feeds = {"INPUT0": rows(7, 64)}
    (expected,), (answer,) = run(model, feeds), run(quantised, feeds)
    assert 0 < np.abs(answer - expected).max() < 0.1 * np.abs(expected).max()


def test_the_ranges_are_those_of_the_samples(tmp_path: Path) -> None:
    np.savez(tmp_path / "only.npz", INPUT0=np.linspace(-2, 1, 64, dtype=np.float32))
    quantised = quantize(mlp.build(64), tmp_path, 1)
    (first,) = (node for node in quantised.graph.node if node.input[0] == "INPUT0")
    (scale,) = (each for each in quantised.graph.initializer if each.name == first.input[1])
    assert numpy_helper.to_array(scale) == pytest.approx(2 / 127, rel=0.01)


def test_a_quantised_model_is_not_quantised_again(classifier: tuple[ModelProto, ModelProto], folder: Path) -> None:
    with pytest.raises(BuildError, match="quantised already"):
        quantize(classifier[1], folder, 1)


def test_a_model_that_cannot_be_run_is_refused(folder: Path) -> None:
    model = efficientnet.build(8)
    model.graph.node[3].op_type = "Rectify"
    with pytest.raises(BuildError, match=r"calibration: ONNX Runtime cannot quantise the model: .*Rectify"):
        quantize(model, folder, 1)


def test_a_sample_that_cannot_be_read_ends_the_calibration(tmp_path: Path) -> None:
    perceptron_samples(tmp_path, 3)
    (tmp_path / "01.npy").write_bytes(b"no array")
    with pytest.raises(BuildError, match=r"^.*01.npy cannot be read as arrays"):
        quantize(mlp.build(64), tmp_path, 3)
