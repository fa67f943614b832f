"""What the commands send: the model and its inputs, found out from the options and the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from yais.clients.errors import InferenceError
from yais.clients.inputs.draws import Share, draw
from yais.clients.inputs.model import Model, describe, find_name
from yais.clients.inputs.shares import find_shares
from yais.clients.messages import Arrays, infer_request
from yais.clients.options import Common
from yais.clients.sync_client import Client
from yais.proto.grpc_service_pb2 import ModelInferRequest


@dataclass(frozen=True, slots=True)
class Workload:
    """The requests to one model, to be sent many times."""

    served: Model
    shares: tuple[Share[Arrays], ...]
    seed: int

    @property
    def model(self) -> str:
        return self.served.name

    @property
    def version(self) -> str:
        return self.served.version

    @property
    def inputs(self) -> Arrays:
        """Those of the first request."""
        return self.shares[0].turns[0]

    def draw(self) -> Iterator[Arrays]:
        """The inputs of one request after the other, without end; the seed decides about them."""
        return draw(self.shares, self.seed)

    def request(self, inputs: Arrays | None = None) -> ModelInferRequest:
        """That of `inputs`, by default the first one.

        Raises ValueError, naming the input, for what the protocol cannot carry.
        """
        return infer_request(self.model, self.inputs if inputs is None else inputs, self.version)

    def __str__(self) -> str:
        return str(self.served)


def prepare(options: Common) -> Workload:
    """Asks the server what the options leave open.

    Raises InferenceError when it does not answer, and click's usage errors for options that do not fit the model.
    """
    with Client(options.target) as client:
        name = options.model or find_name(client, options.timeout)
        model = describe(client, name, options.model_version, options.timeout)
    return Workload(model, find_shares(model, options), options.seed)


@contextmanager
def explained(target: str) -> Iterator[None]:
    """Errors as a command ends with them: 1 for a server that does not answer, 2 for what cannot be sent."""
    try:
        yield
    except InferenceError as error:
        raise click.ClickException(f"{target}: {error}") from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error
