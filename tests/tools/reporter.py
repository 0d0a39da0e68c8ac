"""A tool whose run is seen from outside: it reports to a listener on loopback."""

import json
import urllib.request

from langchain_core.tools import BaseTool
from pydantic import BaseModel


class ReportInput(BaseModel):
    text: str


class Reporter(BaseTool):
    name: str = "reporter"
    description: str = "Reports a text."
    args_schema: type[BaseModel] = ReportInput
    listener: str = ""

    def _run(self, text: str) -> str:
        body = json.dumps({"tool": self.name, "text": text}).encode()
        urllib.request.urlopen(self.listener, data=body, timeout=10).read()
        return f"reported {text}"
