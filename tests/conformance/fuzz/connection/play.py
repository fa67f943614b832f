"""Shows the records of an input, and plays it: `python -m conformance.fuzz.connection.play FILE...`."""

import inspect
import sys
from pathlib import Path

from conformance.fuzz.connection.client_end import ClientEnd
from conformance.fuzz.connection.end import Act
from conformance.fuzz.connection.invariants import play
from conformance.fuzz.connection.peer import bytes_of
from conformance.fuzz.connection.records import LANGUAGE, Kind, Setup
from conformance.fuzz.connection.server_end import ServerEnd
from conformance.fuzz.program import Program, Record


def show(program: Program) -> None:
    end = ClientEnd() if program.setup & Setup.CLIENT else ServerEnd()
    actions = end.connection_actions() + end.call_actions()
    print(f"{Setup(program.setup)!r}, settings {program.variant}")
    for record in program.records:
        print(f"  {record.kind.name} {record.argument} {record.payload[:40].hex(' ')} {_meaning(record, actions)}")


def _meaning(record: Record, actions: list[Act]) -> str:
    match record.kind:
        case Kind.ACTION | Kind.NESTED:
            return inspect.getsource(actions[record.argument % len(actions)]).strip().splitlines()[0]
        case Kind.RAW | Kind.FRAME | Kind.HEADERS | Kind.MESSAGE:
            return str(bytes_of(record)[:100])
    return ""


if __name__ == "__main__":
    for name in sys.argv[1:]:
        data = Path(name).read_bytes()
        show(LANGUAGE.decode(data))
        play(data)
