"""Loads an uploaded file and finds the tool in it. Runs only in the tool's own process."""

import ast
import importlib.metadata
import linecache
import platform
import re
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from agents.sandbox.denials import denied_by

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    Found = BaseTool | type[BaseTool]

MODULE = "uploaded_tool"
FILE = "<uploaded tool>"
MAX_MESSAGE = 1000  # characters of what a file or tool says of its failure
ONE_FILE = "one file must stand alone, so put what it needs into it; the published client inlines what it imports"
# Where LangChain 1 has what older files import. The longest prefix that fits is named.
MOVED = {
    "langchain.callbacks": "langchain_core.callbacks",
    "langchain.chains": "langchain_classic.chains",
    "langchain.chat_models.openai": "langchain_openai",
    "langchain.document_loaders": "langchain_community.document_loaders",
    "langchain.llms": "the package of the model's provider, such as langchain_openai",
    "langchain.memory": "langchain_classic.memory",
    "langchain.output_parsers": "langchain_core.output_parsers",
    "langchain.prompts": "langchain_core.prompts",
    "langchain.pydantic_v1": "pydantic",
    "langchain.retrievers": "langchain_classic.retrievers",
    "langchain.schema": "langchain_core.messages, langchain_core.documents and langchain_core.runnables",
    "langchain.text_splitter": "langchain_text_splitters",
    "langchain.tools.base": "langchain_core.tools",
    "langchain.utilities": "langchain_community.utilities",
    "langchain.vectorstores": "langchain_community.vectorstores",
    "langchain_core.pydantic_v1": "pydantic",
    "langchain.agents": "langchain_classic.agents",
    "langchain.tools": "langchain_core.tools or langchain_community.tools",
}


class Refused(Exception):
    """The file or the call cannot be carried out; the text says why."""


def load(source: str) -> ModuleType:
    """Run the file as a module. Raises Refused, with what its author can change."""
    source = source.removeprefix("\ufeff")  # some editors begin a file with it
    try:
        code = compile(source, FILE, "exec")
    except SyntaxError as e:
        line = f": {e.text.strip()[:200]}" if e.text else ""
        raise Refused(
            f"The file is not valid Python {platform.python_version()}, which the server runs, "
            f"line {e.lineno}: {e.msg}{line}"
        ) from e
    except (ValueError, OverflowError, RecursionError, MemoryError) as e:
        raise Refused(f"The file is not valid Python: {reason_of(e)}.") from e
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)  # for inspect
    module = sys.modules[MODULE] = ModuleType(MODULE)
    module.__file__ = FILE
    try:
        exec(code, module.__dict__)  # noqa: S102 - what this process is for
    except ImportError as e:
        raise Refused(_why_import_fails(e)) from e
    except SystemExit as e:
        raise Refused("The file exits while it is loaded: remove the call of exit from its top level.") from e
    except BaseException as e:
        if key := _variable_that_is_missing(e):
            raise Refused(
                f"The file reads the environment variable {key} while it is loaded{line_of(e)}. A tool's environment "
                "is empty: make the value a field of the tool, which the agent's tool_configs fill."
            ) from e
        raise Refused(f"Loading the file raised {type(e).__name__}{line_of(e)}: {reason_of(e)}{denied_by(e)}") from e
    return module


def _why_import_fails(e: ImportError) -> str:
    name = e.name or ""
    root = name.partition(".")[0]
    text = reason_of(e)
    if "relative import" in text or not name:
        return f"The file has a relative import{line_of(e)}: {ONE_FILE}."
    if root in sys.stdlib_module_names:
        return (
            f"An import fails on the server{line_of(e)}: {text}. The server runs Python {platform.python_version()}; "
            f"{name} of another version of Python may have it. Import it from elsewhere, such as typing_extensions."
        )
    installed = _version_of(root)
    if (installed and root != name) or (installed and not isinstance(e, ModuleNotFoundError)):
        new = next((MOVED[old] for old in sorted(MOVED, key=len, reverse=True) if f"{name}.".startswith(f"{old}.")), "")
        advice = f"LangChain 1 has it in {new}; import it from there" if new else f"import what {installed} has"
        return f"An import fails on the server{line_of(e)}: {text}. {installed} is installed: {advice}."
    return (
        f"The file imports {name}, which is not installed on the server{line_of(e)}. If it is a package, have it "
        f"installed there; if it is a module of your own project: {ONE_FILE}."
    )


def _version_of(root: str) -> str:
    """The distribution that brings a module, with its version; "" where the module is not installed."""
    try:
        found = importlib.metadata.packages_distributions().get(root)
        return f"{found[0]} {importlib.metadata.version(found[0])}" if found else ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def _variable_that_is_missing(e: BaseException) -> str:
    frames = [frame for frame, _ in traceback.walk_tb(e.__traceback__)]
    is_environments = bool(frames) and frames[-1].f_globals.get("__name__") == "os"
    return str(e.args[0]) if isinstance(e, KeyError) and is_environments and e.args else ""


def find(module: ModuleType, source: str, *, object_name: str | None, names: Sequence[str]) -> tuple[str, "Found"]:
    """The tool of a file, by its attribute in the module: a class of BaseTool or an object of one.

    `object_name` must be there. Of `names` the first that a tool of the file has, as its own name or its attribute,
    chooses; without any, the file's only class, or else its only object. Raises Refused.
    """
    classes, objects = _classes(module), _objects(module, source)
    if not classes and not objects:
        raise Refused(
            "The file has no tool class: define one class derived from BaseTool of langchain_core.tools, with a name, "
            "a description and a _run method; or a function with the decorator @tool of langchain_core.tools."
        )
    for name in [object_name] if object_name else names:
        if chosen := _named(name, classes, objects):
            return chosen
    if not object_name and len(classes) == 1:
        return next(iter(classes.items()))
    if not object_name and not classes and len(objects) == 1:
        return next(iter(objects.items()))
    there: dict[str, Any] = {**classes, **objects}
    listed = ", ".join(_label(attribute, found) for attribute, found in there.items())
    if object_name:
        raise Refused(f"The file has no tool {object_name!r:.100}. Its tools are {listed}.")
    raise Refused(
        f"The file has several tools ({listed}): say which one it is, by the tool's own name in the form's field "
        "'name', or by the class or variable in the field 'object'."
    )


def _named(name: str, classes: dict[str, Any], objects: dict[str, Any]) -> "tuple[str, Found] | None":
    """The one of that attribute; else the one of that name, a class before an object. None if there is not just one."""
    everything = {**classes, **objects}
    if name in everything:
        return name, everything[name]
    for kind in (classes, objects):
        alike = [(attribute, found) for attribute, found in kind.items() if name_of(found) == name]
        if alike:
            return alike[0] if len(alike) == 1 else None
    return None


def _classes(module: ModuleType) -> "dict[str, type[BaseTool]]":
    """The tool classes that the file itself defines; the base of another one does not count."""
    from langchain_core.tools import BaseTool

    defined = {
        value: attribute
        for attribute, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, BaseTool) and value.__module__ == MODULE
    }
    return {
        attribute: one for one, attribute in defined.items() if not any(one in other.__mro__[1:] for other in defined)
    }


def _objects(module: ModuleType, source: str) -> "dict[str, BaseTool]":
    """The tools that the file makes at its top level; one that it imports is somebody else's."""
    from langchain_core.tools import BaseTool

    imported = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(source.removeprefix("\ufeff")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    found: dict[str, BaseTool] = {}
    for attribute, value in vars(module).items():
        if (
            isinstance(value, BaseTool)
            and attribute not in imported
            and all(value is not one for one in found.values())
        ):
            found[attribute] = value
    return found


def name_of(found: "Found") -> str:
    """What a tool calls itself; "" where its class does not say."""
    if not isinstance(found, type):
        return found.name
    field = found.model_fields.get("name")
    return field.default if field is not None and isinstance(field.default, str) else ""


def _label(attribute: str, found: "Found") -> str:
    name = name_of(found)
    return f"{attribute} ({name})" if name and name != attribute else attribute


def is_validation_error(e: BaseException) -> Any:
    """Of pydantic, or of the pydantic.v1 in it."""
    return type(e).__name__ == "ValidationError" and hasattr(e, "errors")


def line_of(e: BaseException) -> str:
    lines = [line for frame, line in traceback.walk_tb(e.__traceback__) if frame.f_code.co_filename == FILE]
    return f" in line {lines[-1]}" if lines else ""


def reason_of(e: Any) -> str:
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
