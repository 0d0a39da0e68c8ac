"""DRF's parsers for request bodies: JSON objects only."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from aip.core.json_input import read_object


class _Parser(BaseParser):
    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return read_object(stream.read())


class ObjectParser(_Parser):
    """JSON labelled as JSON."""

    media_type = "application/json"


class CurlParser(_Parser):
    """What `curl -d` sends: JSON labelled as a form. It is read, but not part of the OpenAPI document."""

    media_type = "application/x-www-form-urlencoded"
