"""What `tool_configs` gives to a tool. Runs only in the tool's own process.

An entry is a field of the tool's class or, where the tool has a `tool_config_schema` (the published platform's way),
one of that schema's, which the tool reads by `self.get_tool_config(config)`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.sandbox.arguments import Errors, check_model
from agents.sandbox.loading import Refused, is_validation_error, line_of, reason_of

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from agents.sandbox.loading import Found


def schema_of(found: "Found") -> Any:
    """The class of the tool's settings; None where it has none."""
    schema = _given(found)
    return schema if isinstance(schema, type) and hasattr(schema, "model_fields") else None


def _given(found: "Found") -> Any:
    given = getattr(found, "tool_config_schema", None)
    if given is None and isinstance(found, type):
        field = found.model_fields.get("tool_config_schema")
        given = field.default if field is not None else None
    return given


def check_schema(tool: "BaseTool") -> None:
    """Raises Refused for a `tool_config_schema` of which no settings can be made."""
    try:
        given, schema = _given(tool), schema_of(tool)
        if schema is not None:
            schema()
    except BaseException as e:
        if is_validation_error(e):
            return  # what has no default is the agent's to give
        raise Refused(f"The tool's tool_config_schema raises {type(e).__name__}{line_of(e)}: {reason_of(e)}") from e
    if given is not None and schema is None:
        raise Refused(
            "The tool's tool_config_schema must be a class derived from BaseModel of pydantic 2, "
            "as in `tool_config_schema: type[BaseModel] = MySettings`."
        )


def _names(schema: Any) -> set[str]:
    if schema is None:
        return set()
    return {*schema.model_fields, *(field.alias for field in schema.model_fields.values() if field.alias)}


def split(found: "Found", entries: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries that are fields of the tool's class, and those of its `tool_config_schema`.

    An entry that neither has goes to the schema, where there is one: it may refuse it.
    """
    schema = schema_of(found)
    ours = _names(schema)
    kind = found if isinstance(found, type) else type(found)
    fields = {*kind.model_fields, *(field.alias for field in kind.model_fields.values() if field.alias)}
    of_class = {
        name: value for name, value in entries.items() if name not in ours and (schema is None or name in fields)
    }
    return of_class, {name: value for name, value in entries.items() if name not in of_class}


def check(found: "Found", entries: Mapping[str, Any]) -> Errors:
    """What is wrong with the entries, by name; {} if nothing is."""
    of_class, of_schema = split(found, entries)
    errors: Errors = {}
    try:
        make(found, of_class)
    except Refused as e:
        errors |= {next(iter(of_class), "tool_configs"): [str(e)]}
    schema = schema_of(found)
    return errors | (check_model(schema, of_schema) if schema is not None else {})


def make(found: "Found", fields: Mapping[str, Any]) -> "BaseTool":
    """The tool, with fields of its class as `tool_configs` gives them. Raises Refused."""
    kind = found if isinstance(found, type) else type(found)
    known = {*kind.model_fields, *(field.alias for field in kind.model_fields.values())}
    unknown = sorted(set(fields) - known)
    if unknown and kind.model_config.get("extra") != "allow":
        raise Refused(f"{kind.__name__} has no field named {unknown[0]!r}; correct it in the agent's tool_configs.")
    try:
        return found(**fields) if isinstance(found, type) else _changed(found, fields)
    except BaseException as e:
        raise Refused(f"{kind.__name__} does not accept its settings in tool_configs: {reason_of(e)}") from e


def _changed(tool: "BaseTool", fields: Mapping[str, Any]) -> "BaseTool":
    """A copy, so that the file's own object stays as the file made it."""
    copy = tool.model_copy()
    for name, value in fields.items():
        type(copy).__pydantic_validator__.validate_assignment(copy, name, value)
    return copy


def give(tool: "BaseTool", entries: Mapping[str, Any]) -> None:
    """Let `get_tool_config` return what the schema makes of the entries, with its defaults. Raises Refused."""
    schema = schema_of(tool)
    if schema is None or hasattr(tool, "get_tool_config"):
        return
    try:
        settings = schema(**entries)
    except BaseException as e:
        kind = "accept" if is_validation_error(e) else "make"
        raise Refused(f"The tool's tool_config_schema does not {kind} its settings: {reason_of(e)}") from e
    object.__setattr__(tool, "get_tool_config", lambda config=None: settings)


def secrets(found: "Found") -> list[str]:
    """The fields of the class and of its settings that hold a secret by their type."""
    kind = found if isinstance(found, type) else type(found)
    schema = schema_of(found)
    fields = {**kind.model_fields, **(schema.model_fields if schema is not None else {})}
    secret = {name: field for name, field in fields.items() if "Secret" in str(field.annotation)}
    aliases = (alias for field in secret.values() for alias in (field.alias, field.validation_alias))
    return sorted({*secret, *(alias for alias in aliases if isinstance(alias, str))})
