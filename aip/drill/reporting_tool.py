"""The tool of the drill, uploaded as any other: it reports its call to a listener on loopback, then sleeps."""

import socket
import time

from langchain_core.tools import BaseTool
from pydantic import BaseModel


class ReportInput(BaseModel):
    text: str


class Report(BaseTool):
    name: str = "report"
    description: str = "Reports a text to whoever listens."
    args_schema: type[BaseModel] = ReportInput
    port: int = 0
    seconds: float = 0.5

    def _run(self, text: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), 10) as listener:
            listener.sendall(text.encode())
            listener.shutdown(socket.SHUT_WR)
            listener.recv(1)  # the listener has counted it
        time.sleep(self.seconds)
        return f"reported {text}"
