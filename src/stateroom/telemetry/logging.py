"""Logs: coloured lines on a terminal, elsewhere one JSON line for each event.

`structlog` and the standard library's loggers write through the same handler. Text from clients is encoded as JSON (on a
terminal: by `repr`), so that no client can forge a line. `security_event` logs security events.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from .access import JsonLines

if TYPE_CHECKING:
    from structlog.typing import Processor

    from ..settings import Settings

_security = structlog.get_logger("stateroom.security")


def configure_logging(settings: Settings) -> None:
    """Send this process' logs to stderr, with the level and format that the settings name."""
    as_json = settings.log_format == "json" or (settings.log_format is None and not sys.stderr.isatty())
    level = getattr(logging, settings.log_level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
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
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))  # else a dozen useless lines at each start
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def security_event(name: str, **fields: Any) -> None:
    """Log one security event: sign_in, sign_in_failed, throttled, sign_out, revoke and others.

    Pass only public fields: the session's handle, the user's id, the address. Never pass a password, token, cookie or key.
    """
    _security.info(name, security=True, **fields)
