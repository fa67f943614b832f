import re
import signal
from pathlib import Path

import grpc
import pytest

from e2e.conftest import Engines
from e2e.serving import TRANSPORT, Serving, eventually, run_server
from e2e.sieging import RATE, counts, laid
from yais.proto.grpc_service_pb2 import ModelStatisticsRequest
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

# On the transport with which the server listens; the whole suite runs on each.
SENDING = ("--transport", TRANSPORT)
# grpcio's server cancels a call that overtakes its GOAWAY.
REFUSED = {"UNAVAILABLE", "CANCELLED"} if TRANSPORT == "grpcio" else {"UNAVAILABLE"}


def at(server: Serving) -> list[str]:
    return ["--port", str(server.port)]


def served(address: str) -> int:
    """How many requests a server has answered since its start."""
    with grpc.insecure_channel(address) as channel:
        request = ModelStatisticsRequest(name="identity")
        (model,) = GRPCInferenceServiceStub(channel).ModelStatistics(request, timeout=30).model_stats
        return int(model.inference_stats.success.count)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_siege_goes_on_after_its_server_was_away(engines: Engines, tmp_path: Path, end: signal.Signals) -> None:
    flags = engines.flags("identity")
    with run_server(*flags) as server, laid(tmp_path / "errors", *SENDING, *at(server), "--timeout", "5") as siege:
        siege.wait_for_answers()
        server.signal(end)
        server.exit_code()
        siege.wait_for_failures()
        with run_server(*flags, "--port", str(server.port)):
            siege.wait_for_answers()
            siege.process.send_signal(signal.SIGINT)
            report = siege.report()
    sent, completed, failed = counts(report)
    assert sent == completed + failed
    assert completed > 2 * 0.9 * RATE
    assert failed > 0
    assert siege.process.returncode == 1
    codes = set(re.findall(r"failed \d+ x (\w+): \S", report))
    assert {"UNAVAILABLE"} <= codes <= REFUSED
    assert "Traceback" not in (tmp_path / "errors").read_text()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_siege_whose_server_dies_half_way_has_failed_and_says_so(
    engines: Engines, tmp_path: Path, end: signal.Signals
) -> None:
    rate = ("--rate", str(RATE), "--duration", "4")
    with (
        run_server(*engines.flags("identity")) as server,
        laid(tmp_path / "errors", *SENDING, *at(server), *rate) as siege,
    ):
        siege.wait_for_answers()
        server.signal(end)
        report = siege.report()
    assert siege.process.returncode == 1
    sent, completed, failed = counts(report)
    assert (sent, completed + failed) == (4 * RATE, sent)
    verdict = report[report.index("\nFAILED: ") :].splitlines()
    assert verdict[1].startswith(f"FAILED: {failed} of {sent} requests failed (")
    assert "rejected" in verdict[1]
    assert re.fullmatch(r"  most often, \d+ times: UNAVAILABLE: \S.*", verdict[2])
    assert verdict[3] == "  siege lost its connection to the server 1 time"
    assert "VALID:" not in report
    assert "Traceback" not in (tmp_path / "errors").read_text()


def test_a_server_that_hangs_cannot_keep_a_siege(engines: Engines, tmp_path: Path) -> None:
    """It reads nothing, and is sent more than sockets hold. grpcio's calls do not end then, whatever their deadline."""
    large = ("--shape", "INPUT0:1000000", "--timeout", "0.5", "--max-outstanding", "200")
    arguments = ("--transport", "native", "--rate", "40", "--count", "60", *large)
    with run_server(*engines.flags("identity")) as server, laid(tmp_path / "errors", *at(server), *arguments) as siege:
        eventually(siege.seconds, "the first second")
        server.signal(signal.SIGSTOP)
        report = siege.report()
    assert siege.process.returncode == 1
    assert set(re.findall(r"failed \d+ x (\w+): \S", report)) == {"DEADLINE_EXCEEDED"}


def test_of_two_servers_the_one_that_lives_has_it_all_until_the_other_is_back(engines: Engines, tmp_path: Path) -> None:
    flags = engines.flags("identity")
    with run_server(*flags, "--host", "127.0.0.1") as lives:
        addresses = [f"127.0.0.1:{lives.port}", f"127.0.0.2:{lives.port}"]
        other = (*flags, "--host", "127.0.0.2", "--port", str(lives.port))
        with run_server(*other) as dies:
            target = ["--target", f"ipv4:{','.join(addresses)}"]
            with laid(tmp_path / "errors", *SENDING, *target) as siege:
                siege.wait_for_answers()
                before = [served(address) for address in addresses]
                dies.signal(signal.SIGKILL)
                dies.exit_code()
                siege.wait_for_answers()
                with run_server(*other):
                    eventually(lambda: served(addresses[1]) > RATE / 2, "requests to the server that is back")
                    siege.process.send_signal(signal.SIGINT)
                    report = siege.report()
    sent, completed, failed = counts(report)
    assert sent == completed + failed
    # Half of what is sent until the loss is seen.
    assert failed < RATE
    assert min(before) > 0.3 * RATE
    first, second = (
        int(re.search(rf"\n  {address} +([0-9,]+)\n", report)[1].replace(",", "")) for address in addresses
    )
    assert first > second > 0.8 * RATE
    assert first + second >= sent
    assert "Traceback" not in (tmp_path / "errors").read_text()
