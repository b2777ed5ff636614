"""A door in a process of its own, so that its memory and descriptors can be measured.

Prints its port, then serves until its standard input ends; each byte read there asks for
a line about itself.
"""

from __future__ import annotations

import json
import os
import resource
import sys

import structlog
import trio

from fleetd.web import Door, Limits, Request, Response, open_listeners

STATUS = os.open("/proc/self/status", os.O_RDONLY)  # while there are descriptors
HOLD = float(os.environ.get("HOLD", "0"))


async def handler(request: Request) -> Response:
    if HOLD and request.body:
        await trio.sleep(HOLD)
    return Response(200, b'{"length":%d}' % len(request.body))


def peak_kib() -> int:
    status = os.pread(STATUS, 8192, 0).decode()
    return int(status.split("VmHWM:")[1].split()[0])


async def main(limits: Limits, binds: list[str], logs: list[dict]) -> None:
    listeners = await open_listeners(binds)
    door, most = Door(handler, limits), 0
    commands = trio.lowlevel.FdStream(os.dup(0))

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, door.in_flight)
            await trio.sleep(0.002)

    async with trio.open_nursery() as nursery:
        await nursery.start(door.serve, listeners)
        nursery.start_soon(watch)
        print(json.dumps(listeners[0].socket.getsockname()[1]), flush=True)
        while asked := await commands.receive_some():
            told = {
                "connections": door.connections,
                "in_flight": door.in_flight,
                "most_in_flight": most,
                "peak_kib": peak_kib(),
                "complaints": sum(log["event"] == "accept_paused" for log in logs),
            }
            print(json.dumps(told) * len(asked), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if "descriptors" in asked:
        resource.setrlimit(resource.RLIMIT_NOFILE, (asked["descriptors"],) * 2)
    if "LISTEN_FDS" in os.environ:
        os.environ["LISTEN_PID"] = str(os.getpid())
    limits, binds = Limits(**asked.get("limits", {})), asked.get("binds")
    with structlog.testing.capture_logs() as logs:
        trio.run(main, limits, binds or ["127.0.0.1:0"], logs)
