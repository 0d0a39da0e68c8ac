"""The tool of the guide: it records an action that a person has approved."""

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field


class ActionInput(BaseModel):
    action: str = Field(description="What is to be done, in one sentence")


class RequiresApprovalTool(BaseTool):
    name: str = "requires_approval_tool"
    description: str = "Records an action. Call it before anything that a person has to approve."
    args_schema: type[BaseModel] = ActionInput

    def _run(self, action: str) -> str:
        return f"Recorded: {action}"
