"""The command of the server, which stops where a server would start."""

from typing import NoReturn

from click.testing import CliRunner, Result

from yais.server import cli
from yais.server.config import Config


class Command:
    """Invokes the command; `config` is what a server would have been started with."""

    def __init__(self) -> None:
        self.config: Config | None = None
        self.exit_code = 0

    def serve(self, config: Config) -> NoReturn:
        self.config = config
        raise SystemExit(self.exit_code)

    def __call__(self, *arguments: str, **variables: str) -> Result:
        environment = {f"YAIS_{name}": value for name, value in variables.items()}
        return CliRunner(env=environment).invoke(cli.main, arguments)

    def configured(self, *arguments: str, **variables: str) -> Config:
        result = self(*arguments, **variables)
        assert result.exit_code == 0, result.output
        assert self.config is not None
        return self.config

    def refused(self, *arguments: str, **variables: str) -> str:
        """What the command says, in one line, when it refuses its settings."""
        result = self(*arguments, **variables)
        assert result.exit_code == 2, result.output
        assert self.config is None
        return " ".join(result.output.split())
