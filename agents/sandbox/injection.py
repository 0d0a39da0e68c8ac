"""The values of the arguments that the server gives to a tool. Runs only in the tool's own process."""

import ast
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agents.sandbox.loading import Refused

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

# What a tool can have of LangGraph only inside the process that runs the graph, by the name of its function, and by
# the attribute of ToolRuntime.
OF_THE_GRAPH = {"get_store": "a store", "get_stream_writer": "a stream writer", "interrupt": "an interrupt"}
OF_THE_RUNTIME = {"store": "a store", "stream_writer": "a stream writer"}


def refuse_what_needs_the_graph(source: str) -> None:
    """Raises Refused for a file that uses what cannot be given to a tool outside the graph's process."""
    for line, name, what in sorted(_uses_of_the_graph(ast.parse(source.removeprefix("\ufeff")))):
        raise Refused(
            f"The file uses {name} of LangGraph in line {line}, which needs {what}. This server has none to give: a "
            "tool runs in a process of its own, outside the agent's graph. Return what the model has to know, and "
            "leave questions to the approval that the tool's calls wait for."
        )


def _uses_of_the_graph(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, name, and what it is, of each use."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "langgraph":
            for alias in node.names:
                if alias.name in OF_THE_GRAPH:
                    yield node.lineno, alias.name, OF_THE_GRAPH[alias.name]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            typed = [(arg.arg, arg.annotation) for arg in _arguments(node) if arg.annotation]
            runtimes = {name for name, annotation in typed if "ToolRuntime" in _names(annotation)}
            for use in ast.walk(node):
                if isinstance(use, ast.Attribute) and use.attr in OF_THE_RUNTIME and _is_one_of(use.value, runtimes):
                    yield use.lineno, f"ToolRuntime.{use.attr}", OF_THE_RUNTIME[use.attr]


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _is_one_of(expression: ast.expr, names: set[str]) -> bool:
    return isinstance(expression, ast.Name) and expression.id in names


def _names(expression: ast.expr) -> set[str]:
    """The names of an expression, with those of its attributes and of annotations that are texts."""
    found: set[str] = set()
    for node in ast.walk(expression):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
            case ast.Constant(value=str(text)):
                found.add(text.partition("[")[0].rpartition(".")[2])
    return found


def values_for(injected: Mapping[str, str], tool: "BaseTool", context: Mapping[str, Any]) -> dict[str, Any]:
    """By argument: what `arguments.injected` says that it is given. LangChain itself gives the configuration."""
    found: dict[str, Any] = {}
    for name, kind in injected.items():
        match kind.partition("."):
            case ("tool_call_id", _, _):
                found[name] = str(context.get("call_id") or "call")
            case ("state", "", _):
                found[name] = state(context)
            case ("state", _, "messages"):
                found[name] = state(context)["messages"]
            case ("runtime", _, _):
                found[name] = runtime(tool, context)
    return found


def state(context: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the agent that calls: its conversation."""
    from langchain_core.messages import messages_from_dict

    return {"messages": messages_from_dict(context.get("messages", []))}


def runtime(tool: "BaseTool", context: Mapping[str, Any]) -> Any:
    """Without a store and without a stream (see `refuse_what_needs_the_graph`)."""
    from langgraph.prebuilt.tool_node import ToolRuntime

    return ToolRuntime(
        state=state(context),
        context=None,
        config=config(context),
        stream_writer=lambda _: None,
        tool_call_id=str(context.get("call_id") or "call"),
        store=None,
        tools=[tool],
    )


def config(context: Mapping[str, Any]) -> Any:
    """A RunnableConfig as LangGraph gives it: the run is the thread."""
    named = {key: context[key] for key in ("agent", "user", "run_id") if context.get(key)}
    return {
        "configurable": {"thread_id": str(context.get("run_id", "")), **named},
        "metadata": {**context.get("metadata", {}), **named},
        "tags": [],
    }
