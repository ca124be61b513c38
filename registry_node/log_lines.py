"""What modules say by Python's logging, as lines like all others of the log: one JSON object each, in ASCII. What an
upstream put into an error message forges none."""

from __future__ import annotations

import logging
import traceback

from registry_node.metrics import write_line


class LogLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        said: dict[str, object] = {"level": record.levelname.lower(), "event": "log", "logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            said["trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        write_line(**said, message=record.getMessage())


def take_logging() -> None:
    """From here on, for this process: warnings and what is worse."""
    logging.getLogger().handlers[:] = [LogLines(logging.WARNING)]
