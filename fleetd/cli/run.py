"""Run the daemon in the foreground; SIGTERM stops it, SIGHUP reads the config again."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from contextlib import suppress
from functools import partial

import structlog
import trio

from fleetd import __version__, config, logs, providers, sinks, systemd
from fleetd.app import Daemon
from fleetd.errors import ConfigError
from fleetd.world import World

PRIVATE = (
    0o027  # nobody but the group reads what drivers do, whatever the folder allows
)
SWITCH_S = 0.0005  # how soon the log's thread gets the interpreter back after a sync
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of mallopt(3)
LARGE = 128 << 10  # bytes
logger = structlog.get_logger()


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--show",
        action="store_true",
        help="print events as they come, as `events` does",
    )


def main(chosen: argparse.Namespace) -> int:
    """Until it is told to stop."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end us before we listen
    sys.setswitchinterval(SWITCH_S)
    os.umask(PRIVATE)
    save_memory()
    house = read(chosen)
    logs.setup(house.daemon.log_level, house.daemon.log_format)
    logger.info(
        "starting", version=__version__, pid=os.getpid(), config=str(house.path)
    )
    for warning in config.warnings(house):
        logger.warning("config_warning", why=warning)
    trio.run(_run, chosen, house, strict_exception_groups=True)
    logger.info("stopped")
    return 0


def save_memory() -> None:
    """One heap for all threads, and what is large given back at once; with glibc only.

    Each thread's own heap kept what its largest batch had needed: 15 MB with four sinks.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)


def read(chosen: argparse.Namespace) -> config.House:
    """The config as it stands in the file now, with every secret found."""
    return config.ready(chosen.config, os.environ, providers.load, sinks.load)


async def _run(chosen: argparse.Namespace, house: config.House) -> None:
    daemon = Daemon(house, World())
    async with trio.open_nursery() as nursery:
        reread = partial(read, chosen)
        nursery.start_soon(_obey, daemon, reread)
        nursery.start_soon(_tell, daemon, house)
        if chosen.show:
            nursery.start_soon(_show, daemon, str(house.path))
        await daemon.run()
        nursery.cancel_scope.cancel()


async def _tell(daemon: Daemon, house: config.House) -> None:
    """Where to send and where to look, once all of it is open."""
    await daemon.ready.wait()
    logger.info(
        "ready", webhooks=[*house.webhooks.bind], status=[*house.status.bind],
        data=str(house.daemon.data),
    )  # fmt: skip


async def _show(daemon: Daemon, path: str) -> None:
    """What any other shell would see, in this one."""
    await daemon.ready.wait()
    follow = [sys.executable, "-m", "fleetd", "-c", path, "events", "--follow"]
    await trio.run_process([*follow, "-n", "10"], check=False)


async def _obey(daemon: Daemon, reread: partial[config.House]) -> None:
    """A first SIGTERM or SIGINT drains, a second one stops at once, SIGHUP reloads."""
    asked = False
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with trio.open_signal_receiver(*wanted) as signals:
        async for number in signals:
            if number == signal.SIGHUP:
                if not asked:  # or it would begin another life
                    await _reload(daemon, reread)
            elif asked:
                _end(signal.Signals(number))
            else:
                asked = True
                daemon.stop()


def _end(number: signal.Signals) -> None:
    """End by the signal, as if nobody had caught it.

    A cancel would wait for writes under way, up to half a minute; the log needs no
    closing, and loses nothing.
    """
    logger.warning("stopped_at_once", signal=number.name)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


async def _reload(daemon: Daemon, reread: partial[config.House]) -> None:
    """All or nothing: a bad config is told of, and changes nothing."""
    systemd.notify("RELOADING=1")
    try:
        house = reread()
        await daemon.reload(house)
    except ConfigError as bad:
        logger.error("config_refused", why=str(bad))  # noqa: TRY400  no traceback
        daemon.refused(str(bad))
        systemd.notify("READY=1")
        return
    logs.setup(house.daemon.log_level, house.daemon.log_format)
    logger.info("config_taken", config=str(house.path))
