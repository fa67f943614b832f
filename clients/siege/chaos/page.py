"""The server's metrics page, read over HTTP, and its process as the system sees it."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

import psutil

_SERIES = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_PATIENCE_S = 10.0

Labels = frozenset[tuple[str, str]]
SUCCESS, FAILURE = "nv_inference_request_success", "nv_inference_request_failure"
PENDING, IN_FLIGHT = "nv_inference_pending_request_count", "yais_executor_queue_depth"


class UnreadablePageError(Exception):
    """There is no page, or none that could be read."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the server tells of itself; None for what it does not tell.

    `success` and `failure` are the counters of the watched model; `in_flight` is what came in and is not answered yet;
    `files` are open descriptors and `memory` resident bytes, both None for a server that cannot be looked into;
    `started` is when the process began, in seconds of the epoch.
    """

    success: float | None = None
    failure: float | None = None
    in_flight: float | None = None
    files: float | None = None
    memory: float | None = None
    started: float | None = None

    @property
    def received(self) -> float | None:
        return None if self.success is None else self.success + (self.failure or 0.0)


class Reader:
    """Reads the page of `host:port`; for a server on this machine, `pid` tells of memory and files in its stead."""

    def __init__(self, host: str, port: int | None, model: str, pid: int | None = None) -> None:
        self._host, self._port = host, port
        self._model = model
        self._pid = pid

    async def read(self) -> Page:
        """Raises UnreadablePageError when the server has none to give."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> Page:
        try:
            samples = parse(self._get()) if self._port is not None else {}
            footprint = _footprint(self._pid) if self._pid is not None else {}
        except (OSError, HTTPException, ValueError, psutil.Error) as error:
            raise UnreadablePageError(f"{type(error).__name__}: {error}") from error
        return page_of({**samples, **footprint}, self._model)

    def _get(self) -> str:
        connection = HTTPConnection(self._host, self._port, timeout=_PATIENCE_S)
        try:
            connection.request("GET", "/metrics", headers={"Connection": "close"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"/metrics answers {answer.status}")
        return text


def parse(text: str) -> dict[tuple[str, Labels], float]:
    """All series of a page. Raises ValueError for a line that is none."""
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = _SERIES.fullmatch(line)
            if match is None:
                raise ValueError(f"{line!r} is no series")
            samples[match[1], frozenset(_LABEL.findall(match[2] or ""))] = float(match[3])
    return samples


def page_of(samples: Mapping[tuple[str, Labels], float], model: str) -> Page:
    def total(name: str, **labels: str) -> float | None:
        values = [
            value for (series, its), value in samples.items() if series == name and its.issuperset(labels.items())
        ]
        return sum(values) if values else None

    depth = total(IN_FLIGHT)
    return Page(
        success=total(SUCCESS, model=model),
        failure=total(FAILURE, model=model),
        in_flight=total(PENDING) if depth is None else depth,
        files=total("process_open_fds"),
        memory=total("process_resident_memory_bytes"),
        started=total("process_start_time_seconds"),
    )


def _footprint(pid: int) -> dict[tuple[str, Labels], float]:
    """What the system says of a process and its children."""
    process, none = psutil.Process(pid), frozenset[tuple[str, str]]()
    family = [process, *process.children(recursive=True)]
    return {
        ("process_open_fds", none): float(sum(each.num_fds() for each in family)),
        ("process_resident_memory_bytes", none): float(sum(each.memory_info().rss for each in family)),
        ("process_start_time_seconds", none): process.create_time(),
    }
