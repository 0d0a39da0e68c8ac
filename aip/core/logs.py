"""Log lines: one line each, with the id of their request, and without the server's secrets."""

import logging
import re

from aip.core import request_id

# A line break in a value would forge a line of the log; other controls can rewrite a terminal.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
CONTINUED = "    "


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(found[0], f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


class Redacting(logging.Formatter):
    """The message is one line, with control characters escaped; the lines of a traceback are indented."""

    def format(self, record: logging.LogRecord) -> str:
        from django.conf import settings  # read when lines are written: settings configure logging

        line = super().format(record)
        for secret in settings.SECRETS:
            line = line.replace(secret, "***")
        return line

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = CONTROLS.sub(_escaped, super().formatMessage(record))
        return f"{line} [request {of_request}]" if (of_request := request_id.current()) else line

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]
        return "\n".join(CONTINUED + CONTROLS.sub(_escaped, line) for line in lines)
