import asyncio
from dataclasses import replace

import pytest

from server.fake_engine import FakeEngine, options
from server.specs import Described, spec
from yais.proto import model_config_pb2 as config_pb
from yais.proto.tensors import DTYPES
from yais.server.grpc.v2 import model_config, model_metadata
from yais.server.models.model import Model, ModelOptions

ENGINE = Described(
    (spec("A", "FP32", 3, -1), spec("B", "BYTES")), (spec("Y", "BF16", 2),), 8, platform="onnxruntime_onnx"
)


async def model(described: Described = ENGINE, pool: ModelOptions | None = None) -> Model:
    engine = FakeEngine(
        described.inputs, described.outputs, described.max_batch_size, described.platform, described.device
    )
    return Model("flowers", engine, pool or options(), asyncio.get_running_loop())


async def test_metadata_has_the_batch_dimension_in_front() -> None:
    metadata = model_metadata(await model())
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("flowers", ["1"], "onnxruntime_onnx")
    tensors = [(each.name, each.datatype, list(each.shape)) for each in (*metadata.inputs, *metadata.outputs)]
    assert tensors == [("A", "FP32", [-1, 3, -1]), ("B", "BYTES", [-1]), ("Y", "BF16", [-1, 2])]


async def test_metadata_of_a_model_without_batches_has_the_models_own_shapes() -> None:
    metadata = model_metadata(await model(replace(ENGINE, max_batch_size=0)))
    assert [list(each.shape) for each in (*metadata.inputs, *metadata.outputs)] == [[3, -1], [], [2]]


async def test_the_configuration_has_tritons_defaults_filled_in() -> None:
    config = model_config(await model(pool=options(contexts=3, delay=2_500_000, queue=77)))
    assert (config.name, config.platform, config.backend) == ("flowers", "onnxruntime_onnx", "onnxruntime")
    assert config.version_policy.latest.num_versions == 1
    assert config.max_batch_size == 8
    (group,) = config.instance_group
    assert (group.name, group.kind, group.count) == ("flowers", config_pb.ModelInstanceGroup.KIND_CPU, 3)
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2500
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 77


@pytest.mark.parametrize("max_batch_size", [8, 0])
async def test_dimensions_in_the_configuration_leave_the_batch_out(max_batch_size: int) -> None:
    config = model_config(await model(replace(ENGINE, max_batch_size=max_batch_size)))
    assert config.max_batch_size == max_batch_size
    tensors = [(each.name, each.data_type, list(each.dims)) for each in (*config.input, *config.output)]
    assert tensors == [
        ("A", config_pb.TYPE_FP32, [3, -1]),
        ("B", config_pb.TYPE_STRING, []),
        ("Y", config_pb.TYPE_BF16, [2]),
    ]


@pytest.mark.parametrize(("max_batch_size", "batches"), [(0, False), (1, False), (2, True)])
async def test_only_a_model_that_batches_has_a_batcher(max_batch_size: int, batches: bool) -> None:
    config = model_config(await model(replace(ENGINE, max_batch_size=max_batch_size)))
    assert config.HasField("dynamic_batching") == batches


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        ("cpu", config_pb.ModelInstanceGroup.KIND_CPU),
        ("cuda:1", config_pb.ModelInstanceGroup.KIND_GPU),
    ],
)
async def test_the_device_says_what_kind_of_instances_there_are(device: str, kind: int) -> None:
    assert model_config(await model(replace(ENGINE, device=device))).instance_group[0].kind == kind


@pytest.mark.parametrize("datatype", DTYPES)
async def test_every_datatype_has_a_name_in_the_configuration(datatype: str) -> None:
    described = Described((spec("X", datatype, -1),), (spec("Y", datatype, -1),))
    config, metadata = model_config(await model(described)), model_metadata(await model(described))
    name = config_pb.DataType.Name(config.input[0].data_type)
    assert name == f"TYPE_{'STRING' if datatype == 'BYTES' else datatype}"
    assert metadata.inputs[0].datatype == metadata.outputs[0].datatype == datatype
