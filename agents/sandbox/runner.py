"""Describes an uploaded file's tool, checks arguments for it, or calls it. Runs only in the tool's own process."""

import asyncio
import json
import signal
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.sandbox import arguments, asynchrony, injection, loading, settings
from agents.sandbox.denials import denied_by
from agents.sandbox.loading import Refused, is_validation_error, reason_of
from agents.sandbox.manifest import MADE_WHEN_RUN
from agents.sandbox.results import result_of

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

# How long a tool's own model may take to check arguments.
CHECK_SECONDS = 2.0

WARM = {
    "action": "call",
    "source": """
from langchain_core.tools import BaseTool
from pydantic import BaseModel


class WarmInput(BaseModel):
    word: str


class Warm(BaseTool):
    name: str = "warm"
    description: str = "Gives back a word."
    args_schema: type[BaseModel] = WarmInput

    def _run(self, word: str) -> str:
        return word
""",
    "object_name": "Warm",
    "settings": {},
    "arguments": {"word": "warm"},
}


class Failed(Exception):
    """The tool ran and gave no result; the text says why."""


class Changed(Exception):
    """The tool's own defaults are not those that were shown; it did not run. `now` has them all."""

    def __init__(self, now: dict[str, Any]) -> None:
        super().__init__("The tool's own defaults have changed.")
        self.now = now


def act(request: Mapping[str, Any]) -> str:
    """What the request's action gives, as JSON. Raises Refused, and what `call` raises."""
    module = loading.load(request["source"])
    if request["action"] == "describe":
        injection.refuse_what_needs_the_graph(request["source"])
        names, wanted = request.get("names", ()), request.get("object_name")
        return describe(*loading.find(module, request["source"], object_name=wanted, names=names))
    found: Any = getattr(module, request["object_name"], None)
    if found is None:
        raise Refused(f"The file has no tool {request['object_name']}.")
    if request["action"] == "check_settings":
        return check_settings(_concrete(found), request["settings"])
    of_class, of_schema = settings.split(found, request["settings"])
    tool = settings.make(_concrete(found), of_class)
    if request["action"] == "check":
        return check(tool, request["arguments"])
    settings.give(tool, of_schema)
    return call(tool, request)


def warm_up() -> None:
    """Call a tool of no account, so that the first real one finds loaded, and in its own memory, what it needs."""
    act(WARM)


def describe(attribute: str, found: Any) -> str:
    """What the upload keeps of a tool. Raises Refused."""
    title = found.__name__ if isinstance(found, type) else attribute
    tool = _make_without_arguments(found, title)
    runs_async = asynchrony.is_async(tool)
    run = arguments.runs(tool, is_async=runs_async)
    given = arguments.injected(tool, run)
    of_settings = _settings(found, tool)
    try:
        schema = _schema(tool, runs_async)
        defaults, made_when_run = arguments.defaults(tool, run, schema, given)
        return json.dumps(
            {
                "class_name": title,
                "object_name": attribute,
                "name": tool.name,
                "description": tool.description,
                "args_schema": schema,
                "manifest": {
                    "kind": _kind(found),
                    "is_async": runs_async,
                    "defaults": defaults,
                    "made_when_run": made_when_run,
                    "injected": given,
                    "has_model": arguments.model_of(tool) is not None,
                    "schema_settles": arguments.schema_settles(tool, run, schema),
                    **of_settings,
                },
            },
            allow_nan=False,
        )
    except BaseException as e:
        raise Refused(
            f"The arguments of {title} cannot be expressed as JSON Schema ({reason_of(e)}): "
            "use only types that JSON has, in args_schema or in the signature of _run."
        ) from e


def _kind(found: Any) -> str:
    from langchain_core.tools import StructuredTool

    if isinstance(found, type):
        return "class"
    return "function" if isinstance(found, StructuredTool) else "object"


def _schema(tool: "BaseTool", runs_async: bool) -> Any:
    """The JSON Schema of what the model gives. LangChain infers a missing one from `_run`, which may not run."""
    from langchain_core.tools import create_schema_from_function
    from langchain_core.utils.function_calling import convert_to_openai_function

    if arguments.takes_one_text(tool):
        return convert_to_openai_function(tool)["parameters"]
    if tool.args_schema is None and runs_async:
        tool.args_schema = create_schema_from_function(tool.name, tool._arun)
        schema: Any = tool.tool_call_schema
        tool.args_schema = None
    else:
        schema = tool.tool_call_schema
    if isinstance(schema, dict):
        return schema
    return schema.model_json_schema() if hasattr(schema, "model_json_schema") else schema.schema()


def _settings(found: Any, tool: "BaseTool") -> dict[str, Any]:
    """What the upload keeps of a tool's settings. Raises Refused."""
    settings.check_schema(tool)
    try:
        schema = settings.schema_of(found)
        return {
            "settings_schema": schema.model_json_schema() if schema is not None else None,
            "secrets": settings.secrets(found),
        }
    except BaseException as e:
        raise Refused(f"The tool's tool_config_schema cannot be expressed as JSON Schema: {reason_of(e)}") from e


def _concrete(found: Any) -> Any:
    """A class that has `_arun` alone can be made all the same: that is what runs."""
    from langchain_core.tools import BaseTool

    if getattr(found, "__abstractmethods__", None) != {"_run"} or found._arun is BaseTool._arun:
        return found

    def _run(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    made = type(found.__name__, (found,), {"_run": _run, "__module__": found.__module__})
    _run.__isabstractmethod__ = True  # type: ignore[attr-defined] # so that `_arun` is known to be what runs
    return made


def _make_without_arguments(found: Any, title: str) -> "BaseTool":
    if not isinstance(found, type):
        return found  # type: ignore[no-any-return]
    found = _concrete(found)
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise Refused(f"{title} does not implement {', '.join(missing)}: a tool needs a _run or an _arun method.")
    try:
        tool: BaseTool = found()
    except BaseException as e:
        if is_validation_error(e):
            errors = e.errors()  # type: ignore[attr-defined]
            missing = [str(each["loc"][0]) for each in errors if each["type"] == "missing"]
            for needed in ("name", "description"):
                if needed in missing:
                    raise Refused(f'{title} has no {needed}: add `{needed}: str = "..."` to the class.') from e
        raise Refused(
            f"{title} cannot be made without arguments ({reason_of(e)}): give each of its fields a default."
            f"{denied_by(e)}"
        ) from e
    return tool


def check(tool: "BaseTool", given: Mapping[str, Any]) -> str:
    """What the tool certainly refuses, as JSON by argument. Its body does not run."""
    run = arguments.runs(tool, is_async=asynchrony.is_async(tool))
    given_by_us = arguments.injected(tool, run)
    stand_ins = {**dict.fromkeys(given_by_us), **injection.values_for(given_by_us, tool, {})}
    signal.setitimer(signal.ITIMER_REAL, CHECK_SECONDS)  # its signal ends the process
    try:
        return json.dumps(arguments.check(tool, run, given, stand_ins))
    except Exception as e:
        raise Refused(f"the tool's own check raised {type(e).__name__}: {reason_of(e)}{denied_by(e)}") from e


def check_settings(found: Any, entries: Mapping[str, Any]) -> str:
    """What the tool refuses of its settings, as JSON by name."""
    signal.setitimer(signal.ITIMER_REAL, CHECK_SECONDS)  # its signal ends the process
    try:
        return json.dumps(settings.check(found, entries))
    except Exception as e:
        raise Refused(f"its tool_config_schema raised {type(e).__name__}: {reason_of(e)}") from e


def call(tool: "BaseTool", request: Mapping[str, Any]) -> str:
    """Run the tool as LangChain's ToolNode does; its result as JSON, `content` and `failed`.

    Raises Refused and Changed where it did not run, Failed where it did.
    """
    runs_async = asynchrony.is_async(tool)
    run = arguments.runs(tool, is_async=runs_async)
    context, given = request.get("context", {}), arguments.injected(tool, run)
    _check_defaults(tool, run, given, request, runs_async)
    asynchrony.make_whole(tool, as_coroutine=runs_async)
    # What a model says for an injected argument is not taken.
    own = {name: value for name, value in request["arguments"].items() if name not in given}
    call_id = str(context.get("call_id") or "call")
    asked = {
        "type": "tool_call",
        "id": call_id,
        "name": tool.name,
        "args": {**own, **injection.values_for(given, tool, context)},
    }
    config = injection.config(context)
    try:
        answer = asyncio.run(tool.ainvoke(asked, config)) if runs_async else tool.invoke(asked, config)
        return json.dumps(result_of(answer, call_id), ensure_ascii=False)
    except SystemExit as e:
        raise Failed(f"The tool called exit({e.code!r:.100}) instead of returning a result.") from e
    except BaseException as e:
        if is_validation_error(e) and raised_in(e, "_parse_input"):
            raise Refused(f"The arguments do not fit the tool: {reason_of(e)}") from e
        raise Failed(f"The tool raised {type(e).__name__}: {reason_of(e)}{denied_by(e)}") from e


def _check_defaults(
    tool: "BaseTool", run: Any, given: Mapping[str, str], request: Mapping[str, Any], runs_async: bool
) -> None:
    """Whether the tool's defaults are those that were shown. Raises Changed."""
    shown: Mapping[str, Any] = request.get("expected_defaults") or {}
    if not shown:
        return
    known, made = arguments.defaults(tool, run, {"properties": dict.fromkeys(shown)}, given)
    now = known | dict.fromkeys(made, MADE_WHEN_RUN)
    fixed = {name: value for name, value in shown.items() if value != MADE_WHEN_RUN}
    if json.dumps({name: now.get(name) for name in fixed}, sort_keys=True) != json.dumps(fixed, sort_keys=True):
        raise Changed(now)


def raised_in(e: BaseException, function: str) -> bool:
    return any(frame.f_code.co_name == function for frame, _ in traceback.walk_tb(e.__traceback__))
