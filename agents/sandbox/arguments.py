"""What a tool's arguments are, and whether it takes given ones. Runs only in the tool's own process.

The tool's own argument model is the judge: a pydantic model of either version, or the signature of what runs where
there is none, as LangChain itself does it.
"""

import inspect
import json
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agents.sandbox.loading import Refused, is_validation_error

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

Errors = dict[str, list[str]]

# As DRF and `hitl.schema_process` name what no single argument is to blame for.
WHOLE = "non_field_errors"
# What LangChain itself gives to a function, whatever the model says.
GIVEN_BY_LANGCHAIN = frozenset({"self", "run_manager", "callbacks"})
# Kinds in pydantic's description of a model for which its JSON Schema says all that it checks.
SIMPLE_KINDS = frozenset(
    {
        "model", "model-fields", "model-field", "definitions", "definition-ref", "default", "nullable",
        "str", "int", "float", "bool", "none", "list", "dict", "literal", "any",
    }
)  # fmt: skip


def runs(tool: "BaseTool", *, is_async: bool) -> Callable[..., Any]:
    """The function whose signature says which arguments the tool takes."""
    function = getattr(tool, "coroutine" if is_async else "func", None)
    return function or (type(tool)._arun if is_async else type(tool)._run)


def model_of(tool: "BaseTool") -> Any:
    """The tool's model of its arguments; None where its arguments are those of its function, unchecked."""
    return tool.args_schema if isinstance(tool.args_schema, type) else None


def _hints(of: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of, include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation may name anything; without it nothing is injected
        return dict(getattr(of, "__annotations__", {}))


def injected(tool: "BaseTool", run: Callable[..., Any]) -> dict[str, str]:
    """The arguments that the server gives and the model does not, and what each is given. Raises Refused.

    A value is `tool_call_id`, `runtime`, `config`, `state` or `state.<field>`; `default` for one of an annotation of
    the author's own, which keeps its default.
    """
    model = model_of(tool)
    annotations = _hints(run) | (_hints(model) if model else {})
    found = {name: kind for name, annotation in annotations.items() if (kind := _kind(annotation))}
    for name, kind in found.items():
        _check_that_it_can_be_given(tool, run, name, kind)
    return found


def _kind(annotation: Any) -> str:
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import InjectedToolArg, InjectedToolCallId

    parts = list(_parts(annotation))
    if any(part is RunnableConfig for part in parts):
        return "config"
    if any(_is_a(part, InjectedToolCallId) for part in parts):
        return "tool_call_id"
    # Only a file that has imported it can name its types; importing it takes a second.
    graph: Any = sys.modules.get("langgraph.prebuilt.tool_node")
    if graph is not None:
        for part in parts:
            if _is_a(part, graph.ToolRuntime):
                return "runtime"
            if _is_a(part, graph.InjectedStore):
                return "store"
            if _is_a(part, graph.InjectedState):
                field = getattr(part, "field", None)
                return f"state.{field}" if field else "state"
    return "default" if any(_is_a(part, InjectedToolArg) for part in parts) else ""


def _parts(annotation: Any) -> Iterator[Any]:
    """The annotation and what it is made of: the types of a union, what stands in Annotated."""
    yield annotation
    if (origin := typing.get_origin(annotation)) is not None:
        yield origin
        for part in typing.get_args(annotation):
            yield from _parts(part)


def _is_a(part: Any, kind: type) -> bool:
    return isinstance(part, kind) or (isinstance(part, type) and issubclass(part, kind))


def _check_that_it_can_be_given(tool: "BaseTool", run: Callable[..., Any], name: str, kind: str) -> None:
    if kind in ("tool_call_id", "runtime", "config", "state", "state.messages") or _has_default(tool, run, name):
        return
    what = {"store": "a store", "default": "a value of its own"}.get(kind, f"{kind.partition('.')[2]!r} of the state")
    raise Refused(
        f"The argument {name} wants {what} injected, which this server has not got. It gives the call's id "
        "(InjectedToolCallId), the runtime (ToolRuntime), the configuration (RunnableConfig) and the messages "
        "(InjectedState): use one of these, or give the argument a default."
    )


def _has_default(tool: "BaseTool", run: Callable[..., Any], name: str) -> bool:
    field = _fields(model_of(tool)).get(name)
    if field is not None:
        return not _is_required(field)
    parameter = _parameters(run).get(name)
    return parameter is not None and parameter.default is not parameter.empty


def _fields(model: Any) -> dict[str, Any]:
    """The fields of a model of either version of pydantic, by name."""
    if model is None:
        return {}
    fields: dict[str, Any] = getattr(model, "model_fields", None) or getattr(model, "__fields__", {})
    return fields


def _is_required(field: Any) -> bool:
    return bool(field.is_required() if hasattr(field, "is_required") else field.required)


def _parameters(run: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        found = inspect.signature(run).parameters
    except (TypeError, ValueError):
        return {}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: one for name, one in found.items() if name not in GIVEN_BY_LANGCHAIN and one.kind not in variable}


def defaults(
    tool: "BaseTool", run: Callable[..., Any], schema: Mapping[str, Any], kept_back: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """The value that each argument of the schema has where a call leaves it out; and those made anew by each call."""
    known: dict[str, Any] = {}
    made: list[str] = []
    for name, value, is_made in _left_out(tool, run):
        if name in kept_back or name not in schema.get("properties", {}):
            continue
        try:
            known[name] = _made_of_json(None if is_made else value)
        except Exception:  # noqa: BLE001 - a value that JSON does not have can be anything
            is_made = True
        if is_made:
            known.pop(name, None)
            made.append(name)
    return known, made


def _left_out(tool: "BaseTool", run: Callable[..., Any]) -> Iterator[tuple[str, Any, bool]]:
    """Name, default and whether a factory makes it, of each argument that a call may leave out."""
    model = model_of(tool)
    if model is None:
        for name, parameter in _parameters(run).items():
            if parameter.default is not parameter.empty:
                yield name, parameter.default, False
        return
    for name, field in _fields(model).items():
        if not _is_required(field):
            yield getattr(field, "alias", None) or name, field.default, field.default_factory is not None


def _made_of_json(value: Any) -> Any:
    """Raises what says that the value has no JSON."""
    from pydantic_core import to_jsonable_python

    return json.loads(json.dumps(to_jsonable_python(value), allow_nan=False))


def takes_one_text(tool: "BaseTool") -> bool:
    """LangChain's `Tool` without a model: whatever the argument is called, its value is the one input."""
    from langchain_core.tools import Tool

    return isinstance(tool, Tool) and not tool.args_schema


def schema_settles(tool: "BaseTool", run: Callable[..., Any], schema: Mapping[str, Any]) -> bool:
    """Whether arguments that fit the JSON Schema certainly fit the tool."""
    model = model_of(tool)
    if takes_one_text(tool):
        return True
    if model is None:
        needed = [name for name, one in _parameters(run).items() if one.default is one.empty]
        return set(needed) <= set(schema.get("required", []))
    core = getattr(model, "__pydantic_core_schema__", None)
    return core is not None and _is_simple(core)


def _is_simple(core: Any) -> bool:
    if isinstance(core, list | tuple):
        return all(map(_is_simple, core))
    if not isinstance(core, dict):
        return True
    kind = core.get("type")
    if (isinstance(kind, str) and kind not in SIMPLE_KINDS) or core.get("custom_init") or core.get("post_init"):
        return False
    inner = [
        *(core.get(key) for key in ("schema", "items_schema", "keys_schema", "values_schema", "definitions")),
        *(core["fields"].values() if isinstance(core.get("fields"), dict) else []),
    ]
    return all(_is_simple(part) for part in inner if part is not None)


def check(tool: "BaseTool", run: Callable[..., Any], arguments: Mapping[str, Any], given: Mapping[str, Any]) -> Errors:
    """What the tool certainly refuses in `arguments`, by argument; it does not run.

    `given` is what stands for the injected arguments. Raises what a validator raises that is not a refusal.
    """
    model, whole = model_of(tool), {**arguments, **given}
    if takes_one_text(tool):
        return {} if len(whole) == 1 else {WHOLE: ["The tool takes exactly one argument."]}
    if model is None:
        return _fits(run, whole)
    return {name: texts for name, texts in check_model(model, whole).items() if name not in given}


def check_model(model: Any, values: Mapping[str, Any]) -> Errors:
    """What a model of either version of pydantic refuses, by field. Raises what a validator raises beside that."""
    try:
        (model.model_validate if hasattr(model, "model_validate") else model.parse_obj)(dict(values))
    except Exception as e:
        if not is_validation_error(e):
            raise
        found: Errors = {}
        errors: list[dict[str, Any]] = e.errors()  # type: ignore[attr-defined]
        for error in errors:
            name, *inside = [*map(str, error["loc"])] or [WHOLE]
            found.setdefault(WHOLE if name == "__root__" else name, []).append(_sentence(error["msg"], inside))
        return found
    return {}


def _sentence(text: str, inside: list[str]) -> str:
    whole = f"{'.'.join(inside)}: {text}" if inside else text
    return whole[:300] if whole.endswith(".") else f"{whole[:300]}."


def _fits(run: Callable[..., Any], arguments: Mapping[str, Any]) -> Errors:
    """What a function without a model refuses: a missing argument, or one that it does not have."""
    parameters = _parameters(run)
    try:
        takes_any = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        return {}
    missing = {name for name, one in parameters.items() if one.default is one.empty and name not in arguments}
    unknown = set() if takes_any else set(arguments) - set(parameters)
    return {name: ["Field required."] for name in sorted(missing)} | {
        name: ["The tool has no argument of this name."] for name in sorted(unknown)
    }
