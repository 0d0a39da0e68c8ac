"""A model's answer, published piece by piece to the streams of its run (contract 3.4.4, kind `token`)."""

import time
from concurrent.futures import Future, wait
from typing import Any
from uuid import UUID

from django.conf import settings
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessageChunk, ToolCallChunk
from langchain_core.outputs import ChatGenerationChunk, LLMResult

from agents.loop.model_answers import AskedCall
from agents.runs import events
from aip.core import pubsub

# Pieces are sent together, so that a fast model does not cause a flood of messages.
FLUSH_SECONDS = 0.08
# How long the end of a message waits for its last pieces to be sent when Redis is slow.
WAIT_SECONDS = 0.5


class TokenStream(BaseCallbackHandler):
    """Receives what one model of one run streams; the model answers one request at a time.

    It publishes the text to the streams of the run, if `run_id` is given. It ends an answer that takes longer than a
    model may, because the limits of the libraries are for the time between two pieces. It keeps the calls of an answer
    as they arrived (`calls`), because LangChain completes JSON that breaks off.
    """

    raise_error = True  # or an answer that took too long would be one line in a log

    def __init__(self, run_id: UUID | None = None) -> None:
        self.run_id = run_id
        self._text = ""
        self._flushed = self._ends = 0.0
        self._sent: Future[None] | None = None
        self._calls: list[tuple[Any, AskedCall]] = []

    def on_chat_model_start(self, *_args: Any, **_kwargs: Any) -> None:
        self._text, self._calls = "", []
        self._ends = time.monotonic() + settings.MODEL_TIMEOUT_SECONDS

    def on_llm_new_token(self, token: str | list[str | dict[str, Any]], *, chunk: Any = None, **_kwargs: Any) -> None:
        """Raises ModelTimeoutError."""
        if time.monotonic() > self._ends:
            raise ModelTimeoutError("The model did not come to an end in time.")
        if not isinstance(chunk, ChatGenerationChunk):
            return
        self._text += chunk.message.text
        if self._text and time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._flush()
        if isinstance(chunk.message, AIMessageChunk):
            for part in chunk.message.tool_call_chunks:
                self._add(part)

    def on_llm_end(self, response: LLMResult, **_kwargs: Any) -> None:
        self._wait()
        self._flush()
        self._wait()  # the events after this must not overtake it

    @property
    def calls(self) -> list[AskedCall]:
        """The calls of the last answer, as they were streamed."""
        return [call for _, call in self._calls]

    def _add(self, part: ToolCallChunk) -> None:
        """Add a part to its call, as LangChain does: one with the same index, unless it has another id.

        Without an index each part is a whole call.
        """
        index, call_id = part.get("index"), part.get("id")
        for known, call in self._calls:
            if index is not None and known == index and (not call.id or not call_id or call.id == call_id):
                call.id = call.id or call_id
                call.name += part.get("name") or ""
                call.arguments += part.get("args") or ""
                return
        self._calls.append((index, AskedCall(call_id, part.get("name") or "", part.get("args") or "")))

    def _flush(self) -> None:
        """Send what there is, unless something is under way: two pieces at once may change places."""
        if self.run_id and self._text and (self._sent is None or self._sent.done()):
            text, self._text = self._text[: events.MAX_TOKEN_CHARACTERS], self._text[events.MAX_TOKEN_CHARACTERS :]
            self._sent = pubsub.send(events.group(self.run_id), {"type": "run.said", "text": text})
            self._flushed = time.monotonic()

    def _wait(self) -> None:
        if self._sent is not None:
            wait([self._sent], WAIT_SECONDS)
