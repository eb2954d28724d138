"""Logs as JSON lines, redacted at the sink, so that no caller can forget it."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO

from .redact import Redactor

DROPPED: Final = "<dropped>"
MAX_LINE = 32 * 1024
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN = frozenset({"ts", "level", "logger", "msg", "exc", "stack"})


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the caller's extra fields, and exceptions by type and place.

    Every field goes through the redactor by itself; a field that cannot be formatted or redacted is dropped, the
    rest of the line stands.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; never raises, whatever stands in it."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": _or_dropped(lambda: self._redactor.text(record.getMessage())),
        }
        for key, value in vars(record).items():
            if key not in _STANDARD and key not in _OWN:
                # as a member, so that a secret-like name redacts whatever value it has
                line |= self._member(key, value)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["exc"] = _or_dropped(lambda: self._exception(error))
        if record.stack_info:
            line["stack"] = _or_dropped(lambda: self._redactor.text(record.stack_info or ""))
        return self._dump(line)

    def _member(self, key: str, value: Any) -> dict[str, Any]:
        shown = _or_dropped(lambda: self._redactor.value({key: value}))
        return shown if isinstance(shown, dict) else {}

    def _dump(self, line: dict[str, Any]) -> str:
        try:
            text = json.dumps(
                line, ensure_ascii=True, separators=(",", ":"), allow_nan=False, default=lambda _: DROPPED
            )
        except Exception:  # a field that JSON refuses must not cost the line, nor show itself
            text = json.dumps({key: line[key] for key in ("ts", "level", "logger")} | {"msg": DROPPED})
        if len(text) <= MAX_LINE:
            return text
        kept = {key: line[key] for key in ("ts", "level", "logger")}
        return json.dumps(kept | {"msg": str(line.get("msg"))[:1024], "cut": len(text)}, ensure_ascii=True)

    def _exception(self, error: BaseException) -> list[dict[str, Any]]:
        # The chain, outermost first: type, redacted message, frames as file:line:function. Locals are never shown.
        shown: list[dict[str, Any]] = []
        seen: set[int] = set()
        here: BaseException | None = error
        while here is not None and id(here) not in seen and len(shown) < 8:
            seen.add(id(here))
            shown.append(
                {
                    "type": f"{type(here).__module__}.{type(here).__qualname__}",
                    "msg": self._redactor.value(here),
                    "at": _frames(here.__traceback__),
                }
            )
            here = here.__cause__ or (None if here.__suppress_context__ else here.__context__)
        return shown


class SafeHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream; when that fails it says so without showing the record."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Report the failure by type only: logging's own report prints the record's arguments in the clear."""
        kind = getattr(sys.exc_info()[0], "__name__", "error")
        if sys.__stderr__ is not None and sys.__stderr__ is not self.stream:
            sys.__stderr__.write(
                f'{{"level":"error","logger":"redoubt.log","msg":"a log line was lost ({kind})"}}\n'
            )


def configure(redactor: Redactor, stream: TextIO | None = None, level: int | str = logging.INFO) -> None:
    """Send everything that is logged, warned or uncaught in this process through one redacting handler."""
    handler = SafeHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(redactor))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(
            logger, logging.Logger
        ):  # a server's or library's own handler would write past the redactor
            logger.handlers.clear()
            logger.propagate = True
        del name
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger("redoubt").critical("uncaught exception", exc_info=(kind, error, trace))


def _or_dropped(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception:  # whatever a caller put there, it stays inside
        return DROPPED


def _frames(trace: TracebackType | None) -> list[str]:
    frames: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    return frames[-20:]
