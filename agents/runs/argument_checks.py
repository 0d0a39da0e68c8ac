"""Whether the tool of a call takes arguments, by the tool's own model: before a person is asked, and for an edit."""

from collections.abc import Iterator
from typing import Any

from agents.catalog import snapshot, tool_code
from agents.catalog.tool_code import ToolGone
from agents.catalog.toolspec import ToolSpec
from agents.models import Run
from agents.sandbox import client as sandbox
from aip.core.db import borrowed_connection
from hitl import argument_schema
from hitl.argument_check import Unchecked
from hitl.models import ApprovalRequest
from hitl.schema_process import Errors
from hitl.seal import Arguments


def are_settled(spec: ToolSpec, arguments: Arguments) -> bool:
    """Whether the JSON Schema alone shows that the tool takes the arguments. Costs no process and no statement."""
    return bool(spec.manifest.get("schema_settles")) and argument_schema.fits(spec.args_schema, arguments)


def refused(spec: ToolSpec, source: str, arguments: Arguments) -> Errors:
    """What the tool's own model certainly refuses, by argument; empty if nothing is. Raises Unchecked."""
    try:
        return sandbox.check(tool_code.of_spec(spec, source), arguments)
    except (sandbox.Unchecked, sandbox.SandboxUnavailable) as e:
        raise Unchecked(str(e)) from e


def refused_of_edit(request: ApprovalRequest, arguments: Arguments) -> Errors:
    """What is wrong with a person's arguments for the call of a request. Raises Unchecked.

    The judge is the tool's own model. Where it has none, LangChain gives it anything, and a person's edit must fit its
    JSON Schema; so must one for a call of which only the request is left.
    """
    spec = _spec_of(request)
    if spec is None:
        return argument_schema.check(request.args_schema, arguments, request.arguments)
    if are_settled(spec, arguments):
        return {}
    try:
        source, _ = tool_code.read(spec.id, spec.version_id)
    except ToolGone as e:
        raise Unchecked("its tool was deleted.") from e
    with borrowed_connection():
        pass  # others can use the request's connection while the tool checks
    if errors := refused(spec, source, arguments):
        return errors
    if spec.manifest.get("has_model"):
        return {}
    return argument_schema.check(spec.args_schema, arguments, request.arguments)


def _spec_of(request: ApprovalRequest) -> ToolSpec | None:
    """The tool as the run of a request froze it; None where there is no such run."""
    spec = Run.objects.filter(pk=request.run_id).values_list("spec", flat=True).first()
    for agent in _agents(spec) if spec else ():
        for tool in agent.get("tools", ()):
            if agent.get("agent_id") == str(request.agent_id) and tool["id"] == str(request.tool_id):
                return snapshot.thaw(tool)
    return None


def _agents(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield spec
    for sub in spec.get("agents", []):
        yield from _agents(sub)
