"""Print each session of a program when it is closed, and guard the program's sockets."""

import runpy
from pathlib import Path

from aiomsi import ArmSession

# The guard's own file is hidden by this one.
runpy.run_path(str(Path(__file__).parents[2] / "support" / "socket_guard" / "sitecustomize.py"))
close = ArmSession.close


async def close_and_print(session: ArmSession) -> None:
    await close(session)
    print("witnessed", repr(session), flush=True)


ArmSession.close = close_and_print  # type: ignore[assignment, method-assign]  # a spy
