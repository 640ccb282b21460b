"""The service's logs: coloured lines on a terminal, elsewhere one JSON line for each event.

Our events (`logs.py`), other libraries' records and `structlog` write through one handler. Text from clients is encoded as
JSON (on a terminal: by `repr`), so that no client can forge a line. As a library Stateroom configures nothing.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from ..logs import Event
from .access import JsonLines

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

    from ..settings import Settings


def configure_logging(settings: Settings) -> None:
    """Send this process' logs to stderr, with the level and format that the settings name."""
    as_json = settings.log_format == "json" or (settings.log_format is None and not sys.stderr.isatty())
    level = getattr(logging, settings.log_level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_fields,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    rendered: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        # structlog's default traceback shows local variables, and passwords and tokens are among them.
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    )
    handler = JsonLines(sys.stderr) if as_json else logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_open_event, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))  # otherwise a dozen useless lines at each startup
    if structlog.is_configured():  # by the application that we serve
        return
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _open_event(logger: Any, method: str, entry: EventDict) -> EventDict:
    """Take the name and the fields out of one of our events. Its fields come first in the line."""
    message = entry["_record"].msg
    return {**message.fields, **entry, "event": message.name} if isinstance(message, Event) else entry


_add_extra = structlog.stdlib.ExtraAdder()


def _add_fields(logger: Any, method: str, entry: EventDict) -> EventDict:
    """Add what other libraries give a record as `extra`. The fields of our events are in the entry already."""
    record = entry.get("_record")
    return entry if record is None or isinstance(record.msg, Event) else _add_extra(logger, method, entry)
