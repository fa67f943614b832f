"""What a model says about itself: its metadata, and the configuration that Triton would have worked out for it."""

from yais.proto import grpc_service_pb2 as pb
from yais.proto import model_config_pb2 as config_pb
from yais.server.model import Model
from yais.server.signature import TensorRule


def model_metadata(model: Model) -> pb.ModelMetadataResponse:
    """Names, datatypes and shapes, with -1 in front for the batch dimension of a model that has one."""
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=[model.version],
        platform=model.engine.platform,
        inputs=[_metadata(rule) for rule in model.signature.inputs],
        outputs=[_metadata(rule) for rule in model.signature.outputs],
    )


def model_config(model: Model) -> config_pb.ModelConfig:
    """The configuration with Triton's defaults filled in; `dims` leave the batch dimension out."""
    skip = 1 if model.engine.max_batch_size else 0
    config = config_pb.ModelConfig(
        name=model.name,
        platform=model.engine.platform,
        backend=model.engine.platform.partition("_")[0],
        version_policy=config_pb.ModelVersionPolicy(latest=config_pb.ModelVersionPolicy.Latest(num_versions=1)),
        max_batch_size=model.engine.max_batch_size,
        input=[
            config_pb.ModelInput(name=rule.name, data_type=_data_type(rule), dims=rule.shape[skip:])
            for rule in model.signature.inputs
        ],
        output=[
            config_pb.ModelOutput(name=rule.name, data_type=_data_type(rule), dims=rule.shape[skip:])
            for rule in model.signature.outputs
        ],
        instance_group=[_instance_group(model)],
    )
    if model.engine.max_batch_size > 1:
        config.dynamic_batching.CopyFrom(_dynamic_batching(model))
    return config


def _metadata(rule: TensorRule) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=rule.name, datatype=rule.datatype, shape=rule.shape)


def _data_type(rule: TensorRule) -> str:
    """The name of the enum value, which protobuf takes for the value."""
    return f"TYPE_{'STRING' if rule.datatype == 'BYTES' else rule.datatype}"


def _instance_group(model: Model) -> config_pb.ModelInstanceGroup:
    on_gpu = model.engine.device.startswith("cuda")
    kind = config_pb.ModelInstanceGroup.KIND_GPU if on_gpu else config_pb.ModelInstanceGroup.KIND_CPU
    return config_pb.ModelInstanceGroup(name=model.name, kind=kind, count=model.options.contexts)


def _dynamic_batching(model: Model) -> config_pb.ModelDynamicBatching:
    return config_pb.ModelDynamicBatching(
        preferred_batch_size=[model.engine.max_batch_size],
        max_queue_delay_microseconds=model.options.max_queue_delay // 1000,
        default_queue_policy=config_pb.ModelQueuePolicy(max_queue_size=model.options.max_queue_size),
    )
