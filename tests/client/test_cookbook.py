"""What the platform's cookbook shows of tools: several in one module, settings that a run overrides, a native one."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from glaip_sdk import Agent, Client, Tool
from glaip_sdk.exceptions import ValidationError

from tests.client.conftest import forget
from tests.client.things import MODEL, make_agent, new_name
from tests.client.versions import ITS_OWN_OF_A_FIELD, SHOWS_THE_SERVERS_TEXT

TEXT_TOOLS = '''"""Two small tools that share a helper."""

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field


class TextInput(BaseModel):
    text: str = Field(description="The text to work on")


def words_of(text: str) -> list[str]:
    return text.split()


class WordCounter(BaseTool):
    """Counts."""

    name: str = "word_counter_MARK"
    description: str = "Counts the words of a text."
    args_schema: type[BaseModel] = TextInput

    def _run(self, text: str) -> str:
        return f"{len(words_of(text))} words"


class WordTurner(BaseTool):
    """Turns around."""

    name: str = "word_turner_MARK"
    description: str = "Gives the words of a text, the last first."
    args_schema: type[BaseModel] = TextInput

    def _run(self, text: str) -> str:
        return " ".join(reversed(words_of(text)))
'''

GREETER = '''"""A tool whose greeting is a setting."""

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field


class GreetingSettings(BaseModel):
    greeting: str = Field(default="Hello", min_length=1)
    punctuation: str = "."


class GreetingInput(BaseModel):
    who: str = Field(description="Who is greeted")


class Greeter(BaseTool):
    """Greets."""

    name: str = "greeter_MARK"
    description: str = "Greets somebody."
    args_schema: type[BaseModel] = GreetingInput
    tool_config_schema: type[BaseModel] = GreetingSettings

    def _run(self, who: str, config: RunnableConfig | None = None, **kwargs: object) -> str:
        settings = self.get_tool_config(config)
        return f"{settings.greeting} {who}{settings.punctuation}"
'''


def module(directory: Path, source: str) -> Any:
    """A module of tools, as a program imports it; its tools have names of their own on the server."""
    name = new_name("cookbook")
    path = directory / f"{name}.py"
    path.write_text(source.replace("MARK", name[-8:]))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # where the client looks for the file of a class
    spec.loader.exec_module(found)
    return found


def test_the_name_chooses_among_the_tools_of_a_module(client: Client) -> None:
    mark = new_name("m")[-8:]
    code = TEXT_TOOLS.replace("MARK", mark)
    tools = [client.create_tool_from_code(name=f"{name}_{mark}", code=code) for name in ("word_turner", "word_counter")]
    heard = client.run_agent(make_agent(client, *tools).id, "one two three")
    assert f"word_turner_{mark}: three two one" in heard
    assert f"word_counter_{mark}: 3 words" in heard


@pytest.mark.usefixtures("newcomer")
def test_tools_of_one_module_are_deployed_with_their_agent(client: Client, tmp_path: Path) -> None:
    texts = module(tmp_path, TEXT_TOOLS)
    both = [texts.WordCounter, texts.WordTurner]
    agent = Agent(name=new_name("agent"), instruction="Use both.", model=MODEL, tools=both).deploy()
    heard = str(agent.run("one two three"))
    assert "3 words" in heard
    assert "three two one" in heard
    names = {tool.model_fields["name"].default for tool in both}
    assert {entry["name"] for entry in client.get_agent(agent.id).tools} == names


@pytest.mark.usefixtures("newcomer")
def test_the_settings_of_a_tool_are_its_agents_and_one_run_overrides_them(client: Client, tmp_path: Path) -> None:
    greeter = module(tmp_path, GREETER).Greeter
    agent = Agent(
        name=new_name("agent"),
        instruction="Greet.",
        model=MODEL,
        tools=[greeter],
        tool_configs={greeter: {"greeting": "Good morning,"}},
    ).deploy()
    assert "Good morning, Jane." in str(agent.run("Jane"))
    override = {"tool_configs": {greeter: {"punctuation": "!"}}}
    assert "Good morning, Jane!" in str(agent.run("Jane", runtime_config=override))
    assert "Good morning, Jane." in str(agent.run("Jane"))
    (tool,) = client.get_agent(agent.id).tools
    assert client.get_agent(agent.id).tool_configs == {tool["id"]: {"greeting": "Good morning,"}}


@pytest.mark.usefixtures("newcomer")
def test_settings_that_the_tool_refuses_are_refused_when_the_agent_is_deployed(client: Client, tmp_path: Path) -> None:
    greeter, name = module(tmp_path, GREETER).Greeter, new_name("agent")
    refused = Agent(
        name=name, instruction="Greet.", model=MODEL, tools=[greeter], tool_configs={greeter: {"greeting": ""}}
    )
    with pytest.raises(ValidationError, match=r"tool_configs -> [0-9a-f-]{36} -> greeting: ") as raised:
        refused.deploy()
    reason = "String should have at least 1 character." if SHOWS_THE_SERVERS_TEXT else ITS_OWN_OF_A_FIELD
    assert f"{reason} (invalid)" in str(raised.value)
    assert client.find_agents(name) == []


@pytest.mark.usefixtures("newcomer")
def test_a_native_tool_is_deployed_beside_ones_own(tmp_path: Path) -> None:
    forget()
    tools = [Tool.from_native("time_tool"), module(tmp_path, TEXT_TOOLS).WordCounter]
    agent = Agent(name=new_name("agent"), instruction="Tell the time.", model=MODEL, tools=tools).deploy()
    heard = str(agent.run("UTC"))
    assert "time_tool: " in heard
    assert "1 words" in heard
