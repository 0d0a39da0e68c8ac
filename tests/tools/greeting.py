"""A tool as the documentation shows one: an argument model, a field with a default, a helper function."""

from gllm_plugin.tools import tool_plugin
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field


class GreetingInput(BaseModel):
    name: str = Field(description="Whom to greet")
    times: int = Field(default=1, ge=1, le=3)


def greeting(word: str, name: str) -> str:
    return f"{word}, {name}!"


@tool_plugin(version="1.0.0")
class GreetingTool(BaseTool):
    name: str = "greet"
    description: str = "Greets a person."
    args_schema: type[BaseModel] = GreetingInput
    word: str = "Hello"

    def _run(self, name: str, times: int = 1) -> str:
        return " ".join([greeting(self.word, name)] * times)
