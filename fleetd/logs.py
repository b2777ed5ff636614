"""How fleetd speaks: one line an event, as JSON or for a terminal, no secret in it."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TextIO

import msgspec
import structlog

from fleetd.masking import MASK

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
LONGEST: Final = 16_384
Fields = MutableMapping[str, Any]
_json = msgspec.json.Encoder(enc_hook=str)


def setup(
    level: str = "info", form: str = "auto", stream: TextIO | None = None
) -> None:
    """Begin to log, to stderr unless told otherwise; call it again to change that."""
    stream = stream or sys.stderr
    to_terminal = stream.isatty()
    plain = form == "console" or (form == "auto" and to_terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            masked,
            console(colors=to_terminal) if plain else rendered,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=partial(Pen, stream),
        cache_logger_on_first_use=False,  # a reload may change the level
    )
    bridge_libraries()


class Pen:
    """Writes lines to a stream; where it takes none, fleetd goes on without them."""

    def __init__(self, stream: TextIO, *_name: str) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line: a full disk below the log stops nothing of the work."""
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = log = fatal = msg


def masked(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Every value without a secret in it, and none without end."""
    return {key: _short(MASK.deep(value)) for key, value in fields.items()}


def _short(value: Any) -> Any:
    if isinstance(value, str | bytes) and len(value) > LONGEST:
        return value[:LONGEST]
    return value


def rendered(_logger: Any, _method: str, fields: Fields) -> str:
    """One JSON object, what happened first."""
    first = {key: fields[key] for key in ("time", "level", "event") if key in fields}
    return _json.encode({**first, **fields}).decode()


def console(*, colors: bool) -> Any:
    return structlog.dev.ConsoleRenderer(
        colors=colors,
        timestamp_key="time",
        exception_formatter=structlog.dev.plain_traceback,  # no locals in traces
    )


class Bridge(logging.Handler):
    """What libraries log through the standard library, into our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library_spoke",
            library=record.name,
            said=record.getMessage(),
            exc_info=record.exc_info or None,
        )


def bridge_libraries() -> None:
    """Let libraries be heard from warnings on; httpx would log every URL at info."""
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, Bridge)]
    root.addHandler(Bridge())
    root.setLevel(logging.WARNING)
