"""YAIS's server and client, and the tritonclient that PYTHONPATH has, in one process; prints what each was answered.

usage: one_process.py FIRST MODEL, with FIRST the package that is imported first, `yais` or `tritonclient`, and MODEL
the file of the model `identity`
"""

import asyncio
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

HOST = "127.0.0.1"
PACKAGES = {
    "yais": ("yais.proto.grpc_service_pb2", "yais.clients", "yais.server.server"),
    "tritonclient": ("tritonclient.grpc", "tritonclient.grpc.aio"),
}
VALUES = np.arange(4, dtype=np.float32)

Answers = dict[str, Any]


async def serve(model: Path) -> Answers:
    from yais.server import Config, Server

    transport = os.environ["YAIS_TRANSPORT"]
    server = Server(Config([model], host=HOST, port=0, metrics=0, transport=transport))
    await server.start()
    asks = (ask_with_yais, ask_with_tritonclient, ask_by_reflection)
    address = f"{HOST}:{server.port}"
    answers = {ask.__name__: await asyncio.to_thread(ask, address) for ask in asks}
    return answers | {"exit code": await server.stop()}


def ask_with_yais(address: str) -> Answers:
    from yais.clients import Client

    with Client(address) as client:
        return {
            "OUTPUT0": client.infer("identity", {"INPUT0": VALUES})["OUTPUT0"].tolist(),
            "platform": client.model_config("identity").platform,
        }


def ask_with_tritonclient(address: str) -> Answers:
    from tritonclient.grpc import InferenceServerClient, InferInput

    given = InferInput("INPUT0", list(VALUES.shape), "FP32")
    given.set_data_from_numpy(VALUES)
    client = InferenceServerClient(address)
    answers = {
        "OUTPUT0": client.infer("identity", [given]).as_numpy("OUTPUT0").tolist(),
        "platform": client.get_model_config("identity", as_json=True)["config"]["platform"],
    }
    client.close()
    return answers


def ask_by_reflection(address: str) -> Answers:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        told = DescriptorPool(database)
        methods = {name: len(told.FindServiceByName(name).methods) for name in database.get_services()}
        fields = [field.name for field in told.FindMessageTypeByName("inference.ModelConfig").fields]
    return {"methods": methods, "fields of ModelConfig": fields}


if __name__ == "__main__":
    first, model = sys.argv[1:]
    for package in sorted(PACKAGES, key=lambda name: name != first):
        for module in PACKAGES[package]:
            import_module(module)
    print(json.dumps(asyncio.run(serve(Path(model)))))
