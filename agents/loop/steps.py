"""Where the events of an agent's calls stand in the run's tree of steps (contract 3.4.4)."""

from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import AIMessage

from agents.loop.messages import tools_called
from agents.runs import events
from agents.runs.attempt import Attempt
from aip.core.db import patient


class Steps:
    """The steps of one agent at work. A call's step is named by its `checkpoint_ns`, a message's by its id.

    The step of a sub-agent's work is the call that gave it its task: the namespace around its own calls'.
    Thread-safe: each call has an entry of its own.
    """

    def __init__(self, attempt: Attempt, agent_name: str, *, is_sub_agent: bool) -> None:
        self.attempt = attempt
        self.agent_name = agent_name
        self.is_sub_agent = is_sub_agent
        self._asked_by: dict[str, str] = {}
        self._reported: set[str] = set()

    def enter(self, request: ToolCallRequest) -> AIMessage | None:
        """Note which message asked for a call, and return the message. Raises Lost.

        A sub-agent's message is reported here, before its calls, because the executor sees only the leader's. A
        checkpoint has the message by now, so it is the same for every attempt that enters the call.
        """
        step, messages = namespace(request), request.state["messages"]
        message = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
        if message is None:
            return None
        self._asked_by[step] = str(message.id)
        if self.is_sub_agent and message.id not in self._reported:
            called = self._marked(tools_called(message), [_around(step)])
            self.write(f"calls:{message.id}", called)
            self._reported.add(str(message.id))
        return message

    def placed(self, payload: events.Payload) -> events.Payload:
        """An event of a call, under the message that asked for it.

        The published client takes a message with one call for that call: a sub-agent's hang from its task first.
        """
        step = payload["metadata"]["step_id"]
        above = [_around(step)] if self.is_sub_agent else []
        return self._marked(payload, [*above, self._asked_by.get(step, events.ROOT_STEP)])

    @patient
    def write(self, key: str, payload: events.Payload) -> None:
        """Raises Lost."""
        with self.attempt.writing() as run:
            events.append(run, key, payload)

    def _marked(self, payload: events.Payload, under: list[str]) -> events.Payload:
        return events.with_parents(payload, under=under, agent_name=self.agent_name, is_sub_agent=self.is_sub_agent)


def namespace(request: ToolCallRequest) -> str:
    """What names a call within its run: the same whoever enters it again."""
    return str(request.runtime.config["configurable"]["checkpoint_ns"])


def _around(step: str) -> str:
    return step.rpartition("|")[0] or events.ROOT_STEP
