"""The gate: every tool call of a run passes here, and a gated one only under a recorded decision."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command

from agents.catalog.tool_code import ToolGone
from agents.catalog.toolspec import ToolSpec
from agents.llm.retries import retried
from agents.loop.gated_call import GatedCall
from agents.loop.model_answers import normalized, why_unreadable
from agents.loop.subagent_tool import SubAgentTool, delegate
from agents.loop.token_stream import TokenStream
from agents.loop.tool_calls import Caller, Handler, ToolCall
from aip.core.jsonb import storable


class Gate(AgentMiddleware[Any, Any]):
    """The middleware of one agent in one attempt at a run."""

    def __init__(self, caller: Caller, tools: list[ToolSpec], listener: TokenStream) -> None:
        """`listener` receives what the agent's model streams."""
        super().__init__()
        self.caller = caller
        self.attempt = caller.attempt
        self.steps = caller.steps
        self.listener = listener
        self.specs = {spec.name: spec for spec in tools}

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        # While a sub-agent's model answers, calls of the leader may wait. They keep their thread, so that a decision
        # takes effect at once.
        with self.attempt.busy(gated=False) if self.steps.is_sub_agent else nullcontext():
            response = retried(lambda: handler(request), self.attempt.sleep)
        earlier = [m for m in request.messages if isinstance(m, AIMessage)]
        response.result = [
            normalized(
                message,
                streamed=self.listener.calls,
                tools={getattr(tool, "name", "") for tool in request.tools},
                taken={call["id"] or "" for m in earlier for call in m.tool_calls},
            )
            if isinstance(message, AIMessage)
            else message
            for message in response.result
        ]
        return response

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> ToolMessage | Command[Any]:
        # The arguments are made storable first, so that what is shown, sealed and run is the same.
        arguments = storable(request.tool_call["args"])
        request = request.override(tool_call={**request.tool_call, "args": arguments})
        message = self.steps.enter(request)
        if message and (why := why_unreadable(message, str(request.tool_call["id"]))):
            return ToolCall(self.caller, request).refuse(why)
        if isinstance(request.tool, SubAgentTool):
            return delegate(self.steps, request, handler)
        spec = self.specs.get(request.tool_call["name"])
        if spec is None:
            return ToolCall(self.caller, request).refuse_unknown(handler)
        call = GatedCall(self.caller, request, spec) if spec.gated else ToolCall(self.caller, request)
        try:
            return call.enter() if isinstance(call, GatedCall) else call.run(spec)
        except ToolGone as e:
            return call.withdraw(str(e))
