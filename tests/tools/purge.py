"""Empties a folder of mail: dangerous by its own defaults, and with settings."""

from datetime import date

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, SecretStr


class PurgeInput(BaseModel):
    folder: str
    before: date = Field(default=date(2026, 1, 1), description="Only what is older")
    dry_run: bool = False
    tags: list[str] = Field(default_factory=list)


class Purge(BaseTool):
    name: str = "purge"
    description: str = "Empties a folder."
    args_schema: type[BaseModel] = PurgeInput
    sender: str = "robot@example.com"
    api_token: SecretStr = SecretStr("")

    def _run(self, folder: str, before: date, dry_run: bool, tags: list[str]) -> str:
        return f"{folder} {before} {dry_run} {tags} {self.sender} {self.api_token.get_secret_value()}"
