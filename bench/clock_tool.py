"""The tool of the benchmarks, uploaded as any other: its first line tells the monotonic clock, by UDP to loopback."""

import socket
import time

from langchain_core.tools import BaseTool
from pydantic import BaseModel


class ClockInput(BaseModel):
    text: str


class Clock(BaseTool):
    name: str = "clock"
    description: str = "Tells when it was called."
    args_schema: type[BaseModel] = ClockInput
    port: int = 0

    def _run(self, text: str) -> str:
        now = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as told:
            told.sendto(f"{now!r} {text}".encode(), ("127.0.0.1", self.port))
        return "told"
