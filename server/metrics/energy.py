"""The energy that GPUs have consumed since they were first read."""

from collections.abc import Sequence

from yais.server.metrics.nvml import Reading


class EnergyMeter:
    """Adds up joules by UUID: a GPU's own count, or its power over time where it has never told a count."""

    def __init__(self) -> None:
        self._joules: dict[str, float] = {}
        self._counts: dict[str, float] = {}
        self._watts: dict[str, float] = {}
        self._read_at = 0.0

    def add(self, readings: Sequence[Reading], now: float) -> dict[str, float]:
        """Takes the readings of the moment `now`, in seconds; returns the joules of those that could tell."""
        elapsed, self._read_at = now - self._read_at, now
        spent = {reading.uuid: self._spent(reading, elapsed) for reading in readings}
        self._watts = {each.uuid: each.power_usage for each in readings if each.power_usage is not None}
        told = {uuid: joules for uuid, joules in spent.items() if joules is not None}
        for uuid, joules in told.items():
            self._joules[uuid] = self._joules.get(uuid, 0) + joules
        return {uuid: round(self._joules[uuid], 3) for uuid in told}

    def _spent(self, reading: Reading, elapsed: float) -> float | None:
        """Since the reading before, or since the last count if some failed in between."""
        if reading.energy is not None:
            before = self._counts.get(reading.uuid, reading.energy)
            self._counts[reading.uuid] = reading.energy
            # The count starts again from 0 when the driver is loaded again.
            return reading.energy - before if reading.energy >= before else reading.energy
        if reading.power_usage is None or reading.uuid in self._counts:
            return None
        last = self._watts.get(reading.uuid)
        return 0 if last is None else (last + reading.power_usage) / 2 * elapsed
