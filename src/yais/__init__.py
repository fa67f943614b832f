"""A gRPC inference service for TensorRT and ONNX models, with clients that measure it.

Packages, none of which imports more than it needs:

    yais.server      the service: `Config`, `Server` and `serve`; `yais.server.testing` for tests
    yais.clients     the client library: `Client` and `AsyncClient`; siege and the other load generators
    yais.engines     what runs a model: `open_engine`, and the contract `Engine` for backends
    yais.transport   gRPC on nghttp2, for servers and channels, with the interface of `grpc.aio`
    yais.proto       the messages of the Open Inference Protocol v2

A server and a client of it:

    from yais.clients import Client
    from yais.server import Config
    from yais.server.testing import run_in_thread

    with run_in_thread(Config(engines=["mlp.onnx"], port=0, metrics=0)) as server:
        with Client(f"127.0.0.1:{server.port}") as client:
            outputs = client.infer("mlp", {"INPUT0": array})

The same from a shell: `inference-grpc`, `client-sync`, `client-async` and `siege`; `engine-build` and `engine-inspect`
make engines and look into them. Each has `--help`.
"""

__version__ = "0.1.0"
