"""A run that is asked for by a form, because files come with it (contract 3.4.1)."""

from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import load_handler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from agents.runs.attachments import Attachment
from aip.core.exceptions import Invalid, Unreadable
from aip.core.json_input import read_json
from aip.core.jsonb import storable

# Sent as JSON within their parts.
JSON_FIELDS = ("chat_history", "pii_mapping", "runtime_config")


def read(body: bytes, content_type: str) -> tuple[dict[str, Any], list[Attachment]]:
    """The fields of a run and its files. Raises Unreadable and Invalid, which name the field."""
    meta = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": len(body)}
    handlers = [load_handler(handler, HttpRequest()) for handler in settings.FILE_UPLOAD_HANDLERS]
    try:
        fields, files = MultiPartParser(meta, BytesIO(body), handlers, "utf-8").parse()
    except (MultiPartParserError, SuspiciousOperation) as e:
        raise Unreadable(f"The form cannot be read: {e}") from None
    if "files" in fields:
        raise Invalid({"files": "Each of these parts must be a file with a file name."})
    data: dict[str, Any] = {name: fields[name] for name in fields}
    for name in JSON_FIELDS:
        if text := data.pop(name, ""):
            data[name] = read_json(text.encode(), name)
    return data, [_read(file) for file in files.getlist("files")]


def _read(file: "UploadedFile[Any]") -> Attachment:
    with file:
        return Attachment(name=file.name or "", content_type=storable(file.content_type or ""), content=file.read())
