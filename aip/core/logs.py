"""Log lines without the server's secrets, whatever an error may repeat."""

import logging


class Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from django.conf import settings  # read when lines are written: settings configure logging

        line = super().format(record)
        for secret in settings.SECRETS:
            line = line.replace(secret, "***")
        return line
