"""Ways in which people write tools: each a file, the arguments of a call, and what chooses the tool in the file.

Each tool is called `t<number>` so that one agent can have them all.
"""

import textwrap
from dataclasses import dataclass, field
from typing import Any

TOP = """
import asyncio
import dataclasses
import datetime
import decimal
import enum
import json
import typing
import uuid
from typing import Annotated, Any, Dict, List, Literal, Optional, Type, Union

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import (
    BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, Tool, ToolException, tool,
)
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
"""


@dataclass(frozen=True)
class Way:
    title: str
    source: str
    arguments: dict[str, Any]
    object: str | None = None
    # What LangChain's own ToolNode cannot do: what is right all the same.
    instead: tuple[str, str] | None = None
    number: int = field(default=0)

    @property
    def name(self) -> str:
        return f"t{self.number}"

    @property
    def file(self) -> str:
        return TOP + textwrap.dedent(self.source).replace("NAME", self.name)


def a_class(run: str, *, top: str = "", fields: str = "") -> str:
    """A class of BaseTool with these lines for its methods and its fields."""
    return (
        textwrap.dedent(top)
        + "\nclass Mine(BaseTool):\n    name: str = 'NAME'\n    description: str = 'Does it.'\n"
        + textwrap.indent(textwrap.dedent(fields), "    ")
        + "\n"
        + textwrap.indent(textwrap.dedent(run), "    ")
    )


def a_function(body: str, signature: str, *, top: str = "", decorator: str = '@tool("NAME")', kind: str = "def") -> str:
    return (
        textwrap.dedent(top)
        + f"\n{decorator}\n{kind} mine({signature}):\n    'Does it.'\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
    )


ECHO = "def _run(self, text: str) -> str:\n    return 'ran ' + text"
TEXT = {"text": "x"}
INPUT = "class Input(BaseModel):\n    text: str\n    times: int = 2\n"

_WAYS = [
    # Classes
    Way("a class without a model", a_class(ECHO), TEXT),
    Way("a class with a model", a_class("def _run(self, text, times=1):\n    return text * times", top=INPUT,
        fields="args_schema: Type[BaseModel] = Input"), TEXT),
    Way("a class whose model has the default", a_class("def _run(self, text, times):\n    return text * times",
        top=INPUT, fields="args_schema: Type[BaseModel] = Input"), TEXT),
    Way("coerced arguments", a_class("def _run(self, text, times):\n    return text * times", top=INPUT,
        fields="args_schema: Type[BaseModel] = Input"), {"text": "x", "times": "3"}),
    Way("a run manager", a_class("def _run(self, text: str, run_manager=None) -> str:\n    return text + str(bool(run_manager))"), TEXT),
    Way("keyword arguments", a_class("def _run(self, **kwargs):\n    return json.dumps(kwargs, sort_keys=True)", top=INPUT,
        fields="args_schema: Type[BaseModel] = Input"), TEXT),
    Way("a class of a class", a_class(ECHO) + "\n\nclass Other(Mine):\n    description: str = 'More.'\n", TEXT, "Other"),
    Way("an own constructor", a_class("def __init__(self, **kwargs):\n    super().__init__(**kwargs)\n    self._seen = 'seen '\n"
        "def _run(self, text: str) -> str:\n    return self._seen + text", fields="_seen: str = ''"), TEXT),
    Way("a property", a_class("@property\ndef word(self):\n    return 'w'\ndef _run(self, text: str) -> str:\n    return self.word + text"), TEXT),
    Way("no arguments", a_class("def _run(self) -> str:\n    return 'none'"), {}),
    Way("an optional argument left out", a_class("def _run(self, text: Optional[str] = None) -> str:\n    return repr(text)"), {}),
    Way("a class of several, by its tool's name", a_class(ECHO) +
        "\n\nclass Second(BaseTool):\n    name: str = 'another'\n    description: str = 'd'\n    def _run(self) -> str:\n        return ''\n", TEXT, "Mine"),
    Way("return_direct", a_class(ECHO, fields="return_direct: bool = False"), TEXT),
    # Results
    Way("a dict", a_class("def _run(self, text: str):\n    return {'a': [1, None, 'ä'], 'b': text}"), TEXT),
    Way("a list", a_class("def _run(self, text: str):\n    return [1, text]"), TEXT),
    Way("an empty list", a_class("def _run(self, text: str):\n    return []"), TEXT),
    Way("a number", a_class("def _run(self, text: str):\n    return 4.5"), TEXT),
    Way("None", a_class("def _run(self, text: str):\n    return None"), TEXT),
    Way("True", a_class("def _run(self, text: str):\n    return True"), TEXT),
    Way("an empty text", a_class("def _run(self, text: str):\n    return ''"), TEXT),
    Way("a list of texts", a_class("def _run(self, text: str):\n    return ['a', text]"), TEXT),
    Way("a tuple", a_class("def _run(self, text: str):\n    return (1, text)"), TEXT),
    Way("an object without JSON", a_class("def _run(self, text: str):\n    return decimal.Decimal('1.50')"), TEXT),
    Way("a date", a_class("def _run(self, text: str):\n    return datetime.date(2026, 3, 1)"), TEXT),
    Way("text blocks", a_class("def _run(self, text: str):\n    return [{'type': 'text', 'text': text}]"), TEXT),
    Way("an image block", a_class("def _run(self, text: str):\n    return [{'type': 'text', 'text': text},"
        " {'type': 'image_url', 'image_url': {'url': 'data:image/png;base64,iVBORw0KGgo='}}]"), TEXT),
    Way("content and artifact", a_class("def _run(self, text: str):\n    return text, {'rows': [1]}",
        fields="response_format: str = 'content_and_artifact'"), TEXT),
    Way("a message", a_class("def _run(self, text: str, tool_call_id: Annotated[str, InjectedToolCallId]):\n"
        "    return ToolMessage('msg ' + text, tool_call_id=tool_call_id)"), TEXT, instead=("success", "msg x")),
    Way("a message that failed", a_class("def _run(self, text: str, tool_call_id: Annotated[str, InjectedToolCallId]):\n"
        "    return ToolMessage('no ' + text, tool_call_id=tool_call_id, status='error')"), TEXT, instead=("error", "no x")),
    Way("a command", a_function("from langgraph.types import Command\n"
        "return Command(update={'messages': [ToolMessage('cmd ' + text, tool_call_id=tool_call_id)]})",
        "text: str, tool_call_id: Annotated[str, InjectedToolCallId]"), TEXT),
    # Errors
    Way("an exception that is handled", a_class("def _run(self, text: str):\n    raise ToolException('no ' + text)",
        fields="handle_tool_error: bool = True"), TEXT),
    Way("an exception handled by a text", a_class("def _run(self, text: str):\n    raise ToolException('no ' + text)",
        fields="handle_tool_error: str = 'Ask again later.'"), TEXT),
    Way("an exception handled by a function", a_class("def _run(self, text: str):\n    raise ToolException('no ' + text)",
        top="def told(e):\n    return 'told: ' + str(e)\n", fields="handle_tool_error: Any = told"), TEXT),
    Way("arguments that are refused, handled", a_class("def _run(self, text, times):\n    return text * times", top=INPUT,
        fields="args_schema: Type[BaseModel] = Input\nhandle_validation_error: str = 'Bad arguments.'"), {"text": "x", "times": "many"}),
    Way("an exception", a_class("def _run(self, text: str):\n    raise ValueError('no ' + text)"), TEXT, instead=("error", "The tool raised ValueError: no x")),
    Way("a ToolException", a_class("def _run(self, text: str):\n    raise ToolException('no ' + text)"), TEXT, instead=("error", "The tool raised ToolException: no x")),
    # Async
    Way("_arun alone", a_class("async def _arun(self, text: str) -> str:\n    await asyncio.sleep(0)\n    return 'ran ' + text"), TEXT, instead=("success", "ran x")),
    Way("_arun, and _run that refuses", a_class("def _run(self, text: str) -> str:\n    raise NotImplementedError('async only')\n"
        "async def _arun(self, text: str) -> str:\n    return 'ran ' + text"), TEXT, instead=("success", "ran x")),
    Way("_arun, and _run that passes", a_class("def _run(self, text: str) -> str:\n    pass\n"
        "async def _arun(self, text: str) -> str:\n    return 'ran ' + text"), TEXT, instead=("success", "ran x")),
    Way("_arun and _run", a_class(ECHO + "\nasync def _arun(self, text: str) -> str:\n    return 'async ' + text"), TEXT),
    Way("async _run", a_class("async def _run(self, text: str) -> str:\n    return 'ran ' + text"), TEXT, instead=("success", "ran x")),
    Way("a coroutine that is returned", a_class("def _run(self, text: str):\n    async def later():\n        return 'ran ' + text\n    return later()"),
        TEXT, instead=("success", "ran x")),
    Way("a generator", a_class("def _run(self, text: str):\n    yield text\n    yield 2"), TEXT, instead=("success", '["x", 2]')),
    Way("an async generator", a_class("async def _run(self, text: str):\n    yield text\n    yield 2"), TEXT, instead=("success", '["x", 2]')),
    Way("an iterator", a_class("def _run(self, text: str):\n    return map(str, [1, 2])"), TEXT, instead=("success", '["1", "2"]')),
    Way("an async function", a_function("await asyncio.sleep(0)\nreturn 'ran ' + text", "text: str", kind="async def"), TEXT, instead=("success", "ran x")),
    Way("a coroutine and a function", "def one(text: str) -> str:\n    return 'sync ' + text\n\nasync def two(text: str) -> str:\n    return 'async ' + text\n\n"
        "mine = StructuredTool.from_function(one, two, name='NAME', description='Does it.')\n", TEXT),
    Way("a coroutine alone", "async def two(text: str) -> str:\n    return 'async ' + text\n\n"
        "mine = StructuredTool.from_function(coroutine=two, name='NAME', description='Does it.')\n", TEXT, instead=("success", "async x")),
    # Functions and objects
    Way("a function", a_function("return 'ran ' + text", "text: str"), TEXT),
    Way("a function with a default", a_function("return text * times", "text: str, times: int = 2"), TEXT),
    Way("a function with a model", a_function("return text * times", "text: str, times: int", top=INPUT, decorator='@tool("NAME", args_schema=Input)'), TEXT),
    Way("a function with a documented signature", a_function("return text", "text: str", decorator='@tool("NAME", parse_docstring=False)'), TEXT),
    Way("a function of annotated arguments", a_function("return text", 'text: Annotated[str, "What to say"]'), TEXT),
    Way("a function's content and artifact", a_function("return text, [1]", "text: str", decorator='@tool("NAME", response_format="content_and_artifact")'), TEXT),
    Way("a tool with one input", "mine = Tool(name='NAME', description='Does it.', func=lambda q: 'ran ' + q)\n", {"__arg1": "x"}),
    Way("a structured tool of a lambda", "mine = StructuredTool.from_function(lambda text: 'ran ' + text, name='NAME', description='Does it.')\n", TEXT),
    Way("an object of a class", a_class(ECHO, fields="word: str = 'w'") + "\n\nmine = Mine(word='z')\n", TEXT, "mine"),
    Way("a function of several, by its variable", a_function("return 'ran ' + text", "text: str")
        + "\n\n@tool\ndef other(text: str) -> str:\n    'd'\n    return ''\n", TEXT, "mine"),
    # Arguments
    Way("a list", a_function("return json.dumps(items)", "items: List[int]"), {"items": [1, 2]}),
    Way("a dict", a_function("return json.dumps(items)", "items: Dict[str, int]"), {"items": {"a": 1}}),
    Way("a literal", a_function("return kind", "kind: Literal['a', 'b']"), {"kind": "b"}),
    Way("an enum", a_function("return repr(kind.value)", "kind: Kind", top="class Kind(str, enum.Enum):\n    A = 'a'\n"), {"kind": "a"}),
    Way("a date", a_function("return day.isoformat()", "day: datetime.date"), {"day": "2026-03-01"}),
    Way("a decimal", a_function("return str(amount * 2)", "amount: decimal.Decimal"), {"amount": "1.50"}),
    Way("a UUID", a_function("return key.hex", "key: uuid.UUID"), {"key": "12345678-1234-5678-1234-567812345678"}),
    Way("a union", a_function("return type(value).__name__", "value: Union[int, str]"), {"value": "x"}),
    Way("a nested model", a_function("return inner.text * inner.times", "inner: Input", top=INPUT), {"inner": {"text": "x"}}),
    Way("a list of models", a_function("return str([one.times for one in inner])", "inner: List[Input]", top=INPUT), {"inner": [{"text": "x"}]}),
    Way("a dataclass", a_function("return point.x + 1", "point: Point", top="@dataclasses.dataclass\nclass Point:\n    x: int\n"), {"point": {"x": 1}}),
    Way("a TypedDict", a_function("return point['x'] + 1", "point: Point", top="from typing_extensions import TypedDict\n\nclass Point(TypedDict):\n    x: int\n"),
        {"point": {"x": 1}}),
    Way("a pydantic v1 model", a_class("def _run(self, text, times):\n    return text * times",
        top="from pydantic.v1 import BaseModel as Old\n\nclass Input(Old):\n    text: str\n    times: int = 2\n", fields="args_schema: Type[Old] = Input"), TEXT),
    Way("a JSON Schema", a_class("def _run(self, text, times=3):\n    return text * times", fields=
        "args_schema: dict = {'type': 'object', 'properties': {'text': {'type': 'string'}, 'times': {'type': 'integer'}}, 'required': ['text']}"), TEXT),
    Way("validators", a_class("def _run(self, text, times):\n    return text * times", top=INPUT.replace("BaseModel", "BaseModel")
        + "    @field_validator('text')\n    def up(cls, v):\n        return v.upper()\n", fields="args_schema: Type[BaseModel] = Input"), TEXT),
    Way("an alias", a_class("def _run(self, text):\n    return text", top="class Input(BaseModel):\n    text: str = Field(alias='the_text')\n",
        fields="args_schema: Type[BaseModel] = Input"), {"the_text": "x"}),
    Way("a factory", a_class("def _run(self, text, tags):\n    return text + str(tags)",
        top="class Input(BaseModel):\n    text: str\n    tags: List[str] = Field(default_factory=list)\n", fields="args_schema: Type[BaseModel] = Input"), TEXT),
    Way("constraints", a_function("return times", "times: Annotated[int, Field(ge=1, le=3)]"), {"times": 2}),
    # What LangChain injects
    Way("the call's id", a_function("return text + tool_call_id[:4]", "text: str, tool_call_id: Annotated[str, InjectedToolCallId]"), TEXT),
    Way("the configuration", a_function("return text + str(sorted(config)[0])", "text: str, config: RunnableConfig"), TEXT),
    Way("the configuration, of a class", a_class("def _run(self, text: str, config: RunnableConfig) -> str:\n    return text + str('configurable' in config)"), TEXT),
    Way("the state", a_function("return text + state['messages'][-1].type", "text: str, state: Annotated[dict, InjectedState]",
        top="from langgraph.prebuilt import InjectedState\n"), TEXT),
    Way("the messages", a_function("return text + str(len(messages))", 'text: str, messages: Annotated[list, InjectedState("messages")]',
        top="from langgraph.prebuilt import InjectedState\n"), TEXT),
    Way("the runtime", a_function("return text + runtime.tool_call_id[:4] + runtime.state['messages'][0].type", "text: str, runtime: ToolRuntime",
        top="from langgraph.prebuilt import ToolRuntime\n"), TEXT),
    Way("an injected argument with a default", a_function("return text + user", 'text: str, user: Annotated[str, InjectedToolArg] = "nobody"'), TEXT),
]  # fmt: skip

WAYS = [Way(**{**vars(way), "number": number}) for number, way in enumerate(_WAYS)]
