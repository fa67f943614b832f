"""Breaks the GPU's context between two runs, and prints what the engine makes of it.

    python break_device.py PLAN

In a process of its own, for one that has done so is nothing to go on in.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from gpu_models import run, sample

from yais.engines import EngineError, EngineOptions, open_engine
from yais.engines.cuda.device import open_device

# Writes to an address that nobody has been given.
KERNEL = """\
.version 7.0
.target sm_75
.address_size 64

.visible .entry scribble()
{
    .reg .b32 %value;
    .reg .b64 %address;
    mov.u32 %value, 1;
    mov.u64 %address, 64;
    st.global.u32 [%address], %value;
    ret;
}
"""


def scribble() -> None:
    """Leaves the context broken."""
    driver: Any = import_module("pycuda.driver")
    simulation: Any = sys.modules.get("simulation")
    if simulation is not None:
        simulation.machine().devices[0].fail(700)
        return
    with open_device(0) as device:
        kernel = driver.module_from_buffer(KERNEL.encode()).get_function("scribble")
        kernel(block=(1, 1, 1), grid=(1, 1))
        try:
            driver.Context.synchronize()
        except device.errors:
            return
    sys.exit("the kernel did no harm")


def main(plan: Path) -> None:
    engine = open_engine(plan, EngineOptions(contexts=2))
    contexts = [engine.create_context() for _ in range(2)]
    values = sample(engine, 3)
    before = run(engine, contexts[0], [values])[1][0]
    scribble()
    try:
        run(engine, contexts[0], [values])
    except EngineError as error:
        print(f"{type(error).__name__}: {error}")
    after = [run(engine, context, [values])[1][0] for context in contexts]
    print("the same" if all((before == each).all() for each in after) else "another answer")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
