"""Runs the command that was typed, and turns what went wrong into an exit status."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fleetd import __version__, cli
from fleetd.config.units import nearest
from fleetd.errors import (
    DISK_FAULTS,
    ConfigError,
    FleetdError,
    LockedError,
    NotYetError,
    StoreError,
    UnreachableError,
    UsageError,
    leaves,
)
from fleetd.masking import MASK

DONE, FAILED, USAGE, UNREACHABLE, DISK, LOCKED, CONFIG = 0, 1, 2, 69, 74, 75, 78
STDOUT, STDERR = 1, 2
INTERRUPTED, BROKEN_PIPE = 130, 141  # as a shell counts a process that a signal ended
STATUS: tuple[tuple[type[FleetdError], int], ...] = (
    (NotYetError, FAILED),  # after a power cut the network comes later
    (ConfigError, CONFIG),
    (StoreError, DISK),
    (LockedError, LOCKED),
    (UnreachableError, UNREACHABLE),
    (UsageError, USAGE),
    (FleetdError, FAILED),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status says how it went."""
    if argv is None:  # the process is ours
        MASK.guard_crashes()
        hold_outputs()
    try:
        status = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        hush()
        return BROKEN_PIPE
    except OSError as bad:
        return refused(bad)
    except KeyboardInterrupt:
        return INTERRUPTED
    except FleetdError as fault:
        return told([fault])
    except BaseExceptionGroup as group:
        return of_group(group)
    return status


def hold_outputs() -> None:
    """Have all three standard files there, and an output that refuses no letter.

    A log that were opened as file 1 or 2 would be printed into.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(spare, True)
    os.close(spare)
    sys.stdout = sys.stdout or os.fdopen(STDOUT, "w")
    sys.stderr = sys.stderr or os.fdopen(STDERR, "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def hush() -> None:
    """Have nothing more written to where nobody takes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refused(bad: OSError) -> int:
    """What the system refused, in one line: the output, unless it names a file."""
    sys.stderr.write(f"fleetd: {bad.filename or 'the output'}: {bad.strerror or bad}\n")
    hush()
    return DISK if bad.errno in DISK_FAULTS else FAILED


def run(argv: Sequence[str]) -> int:
    """Parse the line and run its command."""
    chosen = outer_parser().parse_args(argv)
    if chosen.command == "help" and chosen.rest:
        chosen.command, chosen.rest = chosen.rest[0], ["--help"]
    if chosen.command is None or chosen.command == "help":
        outer_parser().print_help()
        return DONE if chosen.command else USAGE
    if chosen.command not in cli.names():
        return no_such(chosen.command)
    command = cli.load(chosen.command)
    parser = argparse.ArgumentParser(
        prog=f"fleetd {chosen.command}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_config(parser, chosen.config)
    command.arguments(parser)
    typed = parser.parse_args(chosen.rest)
    try:
        return int(command.main(typed))
    except UnicodeEncodeError as bad:  # its text may be a secret
        raise UsageError("what was typed is no text in UTF-8") from bad


def outer_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleetd",
        description="Fleet events onto your own disk, and on to where people look.",
        epilog=command_list(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fleetd {__version__}")
    add_config(parser, None)
    parser.add_argument("command", nargs="?", metavar="COMMAND")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def add_config(parser: argparse.ArgumentParser, given: Path | None) -> None:
    parser.add_argument(
        "-c",
        dest="config",
        type=Path,
        default=given,
        metavar="FILE",
        help="else $FLEETD_CONFIG, ./fleetd.toml, /etc/fleetd/fleetd.toml",
    )


def command_list() -> str:
    width = max(map(len, cli.names()), default=0) + 2
    lines = (f"  {name:<{width}}{cli.summary(name)}" for name in cli.names())
    return "commands:\n" + "\n".join(lines)


def no_such(command: str) -> int:
    close = nearest(command, tuple(cli.names()))
    hint = f"did you mean `{close}`?" if close else "`fleetd help` lists them"
    sys.stderr.write(f"fleetd: no command {command!r}; {hint}\n")
    return USAGE


def told(faults: Sequence[FleetdError]) -> int:
    """Say what went wrong, and give the status of the gravest."""
    for fault in faults:
        sys.stderr.write(f"fleetd: {MASK.mask(str(fault))}\n")
    ranks = (code for kind, code in STATUS for one in faults if isinstance(one, kind))
    return next(ranks, FAILED)


def of_group(group: BaseExceptionGroup[BaseException]) -> int:
    """The status of faults out of a nursery; what is not ours goes on as a crash."""
    found = list(leaves(group))
    ours = [one for one in found if isinstance(one, FleetdError)]
    if any(isinstance(one, BrokenPipeError) for one in found):
        hush()
        return BROKEN_PIPE
    if ours and len(ours) == len(found):
        return told(ours)
    if all(isinstance(one, KeyboardInterrupt | FleetdError) for one in found):
        return INTERRUPTED
    raise group


if __name__ == "__main__":
    sys.exit(main())
