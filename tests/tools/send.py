"""A tool that says with which arguments it was run."""

import json
import urllib.request
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel


class SendInput(BaseModel):
    to: str
    weight: Any = None


class Send(BaseTool):
    name: str = "send"
    description: str = "Sends."
    args_schema: type[BaseModel] = SendInput
    listener: str = ""

    def _run(self, to: str, **more: Any) -> str:
        given = {"to": to} | {name: value for name, value in more.items() if value is not None}
        body = json.dumps({"tool": self.name, "text": to, "arguments": given}).encode()
        urllib.request.urlopen(self.listener, data=body, timeout=10).read()
        if to == "nobody":
            raise LookupError("the mail server said no")
        return "sent"
