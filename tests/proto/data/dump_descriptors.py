"""Writes the file descriptors of the `tritonclient` that is installed beside this script's Python.

    pip install "tritonclient[grpc]==2.73.0"
    python dump_descriptors.py

The test of the wire contract compares ours with them, without `tritonclient` at hand.
"""

from pathlib import Path

from tritonclient.grpc import model_config_pb2, service_pb2

for module in (model_config_pb2, service_pb2):
    descriptor = module.DESCRIPTOR
    target = Path(__file__).parent / f"{Path(descriptor.name).stem}.binpb"
    target.write_bytes(descriptor.serialized_pb)
