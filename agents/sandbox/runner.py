"""Loads an uploaded file and describes or calls its tool. Runs only in the tool's own process."""

import json
import linecache
import re
import sys
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

MODULE = "uploaded_tool"
FILE = "<uploaded tool>"
MAX_MESSAGE = 1000  # characters of what a file or tool says of its failure


WARM = {
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
    "class_name": "Warm",
    "fields": {},
    "arguments": {"word": "warm"},
}


class Refused(Exception):
    """The file or the call cannot be carried out; the text says why."""


def act(request: Mapping[str, Any]) -> str:
    """The description of the tool as JSON or, where the request names a class, the result of its call."""
    module = load(request["source"])
    if request["class_name"] is None:
        return describe(tool_class_of(module))
    tool_class = getattr(module, request["class_name"], None)
    if not isinstance(tool_class, type):
        raise Refused(f"The file has no class {request['class_name']}.")
    return call(tool_class, request["fields"], request["arguments"])


def warm_up() -> None:
    """Call a tool of no account, so that the first real one finds loaded, and in its own memory, what it needs."""
    act(WARM)


def load(source: str) -> ModuleType:
    source = source.removeprefix("\ufeff")  # some editors begin a file with it
    try:
        code = compile(source, FILE, "exec")
    except SyntaxError as e:
        line = f": {e.text.strip()[:200]}" if e.text else ""
        raise Refused(f"The file is not valid Python, line {e.lineno}: {e.msg}{line}") from e
    except (ValueError, OverflowError, RecursionError, MemoryError) as e:
        raise Refused(f"The file is not valid Python: {said(e)}.") from e
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)  # for inspect
    module = sys.modules[MODULE] = ModuleType(MODULE)
    module.__file__ = FILE
    try:
        exec(code, module.__dict__)  # noqa: S102 - what this process is for
    except ModuleNotFoundError as e:
        raise Refused(f"The file imports {e.name}, which is not installed on the server: install it there.") from e
    except ImportError as e:
        raise Refused(
            f"An import fails on the server: {said(e)}. Another version of {e.name} must be installed there."
        ) from e
    except SystemExit as e:
        raise Refused("The file exits while it is loaded: remove the call of exit from its top level.") from e
    except BaseException as e:
        raise Refused(f"Loading the file raised {type(e).__name__}{line_of(e)}: {said(e)}") from e
    return module


def tool_class_of(module: ModuleType) -> "type[BaseTool]":
    """The one tool class that the file itself defines; the base of another one does not count."""
    from langchain_core.tools import BaseTool

    defined = {
        value: None  # a dict, to keep their order
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseTool) and value.__module__ == MODULE
    }
    leaves = [one for one in defined if not any(one in other.__mro__[1:] for other in defined)]
    if not leaves:
        raise Refused(
            "The file has no tool class: define one class derived from BaseTool of langchain_core.tools, "
            "with a name, a description and a _run method."
        )
    if len(leaves) > 1:
        names = ", ".join(leaf.__name__ for leaf in leaves)
        raise Refused(f"The file has several tool classes ({names}): put each into a file of its own.")
    return leaves[0]


def describe(tool_class: "type[BaseTool]") -> str:
    title = tool_class.__name__
    if missing := sorted(getattr(tool_class, "__abstractmethods__", ())):
        raise Refused(f"{title} does not implement {', '.join(missing)}: a tool needs a _run method.")
    tool = make_without_arguments(tool_class)
    try:
        schema: Any = tool.tool_call_schema
        if not isinstance(schema, dict):
            schema = schema.model_json_schema()
        made = {
            "class_name": title,
            "name": tool.name,
            "description": tool.description,
            "args_schema": schema,
        }
        return json.dumps(made, allow_nan=False)
    except BaseException as e:
        raise Refused(
            f"The arguments of {title} cannot be expressed as JSON Schema ({said(e)}): "
            "use only types that JSON has, in args_schema or in the signature of _run."
        ) from e


def make_without_arguments(tool_class: "type[BaseTool]") -> "BaseTool":
    title = tool_class.__name__
    try:
        return tool_class()
    except BaseException as e:
        if is_validation_error(e):
            errors = e.errors()  # type: ignore[attr-defined]
            missing = [str(each["loc"][0]) for each in errors if each["type"] == "missing"]
            for needed in ("name", "description"):
                if needed in missing:
                    raise Refused(f'{title} has no {needed}: add `{needed}: str = "..."` to the class.') from e
        raise Refused(
            f"{title} cannot be made without arguments ({said(e)}): give each of its fields a default."
        ) from e


def call(tool_class: "type[BaseTool]", fields: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    known = set(tool_class.model_fields) | {field.alias for field in tool_class.model_fields.values()}
    unknown = sorted(set(fields) - known)
    if unknown and tool_class.model_config.get("extra") != "allow":
        raise Refused(
            f"{tool_class.__name__} has no field named {unknown[0]!r}; correct it in the agent's tool_configs."
        )
    try:
        tool = tool_class(**fields)
    except BaseException as e:
        raise Refused(f"{tool_class.__name__} does not accept its settings in tool_configs: {said(e)}") from e
    try:
        # Not `invoke`: it takes arguments which look like a tool call for one.
        return text_of(tool.run(dict(arguments), config={}))
    except SystemExit as e:
        raise Refused(f"The tool called exit({e.code!r:.100}) instead of returning a result.") from e
    except BaseException as e:
        if is_validation_error(e) and raised_in(e, "_parse_input"):
            raise Refused(f"The arguments do not fit the tool: {said(e)}") from e
        raise Refused(f"The tool raised {type(e).__name__}: {said(e)}") from e


def text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def is_validation_error(e: BaseException) -> Any:
    """Of pydantic, or of the pydantic.v1 in it."""
    return type(e).__name__ == "ValidationError" and hasattr(e, "errors")


def raised_in(e: BaseException, function: str) -> bool:
    return any(frame.f_code.co_name == function for frame, _ in traceback.walk_tb(e.__traceback__))


def line_of(e: BaseException) -> str:
    lines = [line for frame, line in traceback.walk_tb(e.__traceback__) if frame.f_code.co_filename == FILE]
    return f" in line {lines[-1]}" if lines else ""


def said(e: Any) -> str:
    """An exception's text in one piece of bounded length, without the server's paths."""
    try:
        if is_validation_error(e):
            text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in e.errors())
        else:
            text = str(e)
    except Exception as broken:  # noqa: BLE001 - the tool's own exception class may do anything
        text = f"(its text cannot be had: {type(broken).__name__})"
    if isinstance(e, ImportError):
        text = re.sub(r" \(.*\)$", "", text)
    return text.removeprefix(": ").strip()[:MAX_MESSAGE] or "it gave no reason"
