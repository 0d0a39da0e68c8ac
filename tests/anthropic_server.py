"""A small HTTP server that speaks Anthropic's messages, streamed, so that `langchain-anthropic` itself is exercised."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
# From a request's body to the blocks of the answer, or to a status with which the server fails.
Script = Callable[[Body], list[Body] | int]


def text(words: str) -> Body:
    return {"type": "text", "text": words}


def tool_use(name: str, arguments: Body, call_id: str) -> Body:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def tool_results(body: Body) -> list[Any]:
    """What the tools answered, as the model hears it."""
    blocks = [b for m in body["messages"] if isinstance(m["content"], list) for b in m["content"]]
    return [block["content"] for block in blocks if block["type"] == "tool_result"]


class AnthropicServer(ThreadingHTTPServer):
    """Answers each model by the script of its name, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scripts: dict[str, Script] = {}
        self.received: list[Body] = []
        self.keys: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: AnthropicServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append(body)
        # Clients before version 2 send the key in a header of its own.
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.keys.append(self.headers.get("X-Api-Key") or bearer)
        answer = self.server.scripts[body["model"]](body)
        if isinstance(answer, int):
            self.send_response(answer)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            message = f"the key {self.server.keys[-1]} is refused"
            self.wfile.write(json.dumps({"type": "error", "error": {"type": "x", "message": message}}).encode())
            return
        assert body["stream"], "it is asked to stream"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with suppress(BrokenPipeError):
            for event in events(body["model"], answer):
                self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def events(model: str, blocks: list[Body]) -> Iterator[Body]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": []}
    usage = {"input_tokens": 10, "output_tokens": 1}
    yield {"type": "message_start", "message": message | {"stop_reason": None, "stop_sequence": None, "usage": usage}}
    for index, block in enumerate(blocks):
        is_text = block["type"] == "text"
        begun = block | ({"text": ""} if is_text else {"input": {}})
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        whole = block["text"] if is_text else json.dumps(block["input"])
        half = len(whole) // 2
        for part in (whole[:half], whole[half:]):
            delta = (
                {"type": "text_delta", "text": part} if is_text else {"type": "input_json_delta", "partial_json": part}
            )
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    reason = "end_turn" if all(block["type"] == "text" for block in blocks) else "tool_use"
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    yield {"type": "message_stop"}


@contextmanager
def serving() -> Iterator[AnthropicServer]:
    server = AnthropicServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
