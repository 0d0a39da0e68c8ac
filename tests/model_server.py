"""A small HTTP server that speaks OpenAI's chat completions, so that `langchain-openai` itself is exercised."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Raw:
    """An answer as it is sent, whatever was asked for."""

    body: str | Body
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


# From a request's body to the assistant's message, or to a status with which the server fails, or to a raw answer. A
# message may have a `refusal`, and a `finish_reason` of its own.
Script = Callable[[Body], Body | int | Raw]


def tool_call(name: str, arguments: Any, call_id: str) -> Body:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def calls(*wanted: Body) -> Body:
    return {"role": "assistant", "content": None, "tool_calls": list(wanted)}


def says(text: str) -> Body:
    return {"role": "assistant", "content": text}


def tool_results(body: Body) -> list[str]:
    """What the tools answered, as the model hears it."""
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def pieces(answer: Body) -> Iterator[Body]:
    """A message as it is streamed: its text word by word, the arguments of its calls in halves."""
    yield {"role": "assistant", "content": ""}
    for word in re.findall(r"\S+\s*|\s+", answer["content"] or ""):
        yield {"content": word}
    for word in re.findall(r"\S+\s*", answer.get("refusal", "")):
        yield {"refusal": word}
    for index, call in enumerate(answer.get("tool_calls", [])):
        text = call["function"]["arguments"]
        half = len(text) // 2
        begun = {"name": call["function"]["name"], "arguments": text[:half]}
        yield {"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": begun}]}
        yield {"tool_calls": [{"index": index, "function": {"arguments": text[half:]}}]}


class ModelServer(ThreadingHTTPServer):
    """Answers each model by the script of its name, and keeps what it was sent."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scripts: dict[str, Script] = {}
        self.received: list[Body] = []
        self.keys: list[str] = []
        # Seconds between the pieces of what a model streams, by its name.
        self.pauses: dict[str, float] = {}
        # Seconds for which a model that streams says only that it is alive, by its name.
        self.delays: dict[str, float] = {}
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def sent_to(self, model: str) -> list[Body]:
        return [body for body in self.received if body["model"] == model]


class Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append(body)
        self.server.keys.append(self.headers.get("Authorization", ""))
        answer = self.server.scripts[body["model"]](body)
        if isinstance(answer, int):
            self._send(answer, {"error": {"message": f"the key {self.server.keys[-1]} is refused", "type": "x"}})
            return
        if isinstance(answer, Raw):
            self._send_raw(answer)
            return
        reason = answer.get("finish_reason", "tool_calls" if "tool_calls" in answer else "stop")
        # One id for all: nothing may rest on a provider's ids.
        whole = {"id": "chatcmpl-1", "created": 0, "model": body["model"], "usage": USAGE}
        if body.get("stream"):
            self._stream(whole, answer, reason)
            return
        choice = {"index": 0, "message": answer, "finish_reason": reason}
        self._send(200, whole | {"object": "chat.completion", "choices": [choice]})

    def _stream(self, whole: Body, answer: Body, reason: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):
            ends = time.monotonic() + self.server.delays.get(whole["model"], 0)
            while time.monotonic() < ends:
                self.wfile.write(b": alive\n\n")
                time.sleep(0.2)
            for delta in pieces(answer):
                self._chunk(whole, [{"index": 0, "delta": delta, "finish_reason": None}], None)
                time.sleep(self.server.pauses.get(whole["model"], 0))
            self._chunk(whole, [{"index": 0, "delta": {}, "finish_reason": reason}], None)
            self._chunk(whole, [], USAGE)
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _chunk(self, whole: Body, choices: list[Body], usage: Body | None) -> None:
        body = whole | {"object": "chat.completion.chunk", "choices": choices, "usage": usage}
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())
        self.wfile.flush()

    def _send(self, status: int, body: Body) -> None:
        self._send_raw(Raw(body, status))

    def _send_raw(self, answer: Raw) -> None:
        data = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(BrokenPipeError):  # who asked may have been killed meanwhile
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def serving() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
