"""Log lines that are one line each, and without the server's secrets, whatever a value or an error may repeat."""

import logging
import re

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
        return CONTROLS.sub(_escaped, super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]
        return "\n".join(CONTINUED + CONTROLS.sub(_escaped, line) for line in lines)
