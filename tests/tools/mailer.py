import json
import os
from typing import Literal

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator


class MailSettings(BaseModel):
    sender: str = "noreply@example.com"
    limit: int = Field(default=10, ge=1)
    region: Literal["eu", "us"] = "eu"
    api_token: SecretStr = SecretStr("")
    way: str = ""

    @field_validator("way")
    @classmethod
    def misbehave(cls, way: str) -> str:
        while way == "hang":
            pass
        if way == "exit":
            os._exit(3)
        if way == "raise":
            raise KeyError("way")
        return way

    @model_validator(mode="after")
    def check_token(self) -> "MailSettings":
        token = self.api_token.get_secret_value()
        if token.startswith("bad"):
            raise ValueError(f"the token {token.upper()} has expired")
        return self


class MailerInput(BaseModel):
    to: str = Field(description="Who receives the mail")


class Mailer(BaseTool):
    name: str = "mailer"
    description: str = "Sends a mail."
    args_schema: type[BaseModel] = MailerInput
    tool_config_schema: type[BaseModel] = MailSettings

    def _run(self, to: str, config: RunnableConfig | None = None) -> str:
        settings = self.get_tool_config(config)
        return json.dumps({"to": to, "from": settings.sender, "limit": settings.limit})
