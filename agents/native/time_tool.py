"""What time it is: a tool that comes with the server."""

from datetime import datetime
from zoneinfo import ZoneInfo

from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, Field


class TimeInput(BaseModel):
    timezone: str = Field(default="UTC", description="The IANA name of a time zone, such as Europe/Berlin")


class TimeTool(BaseTool):
    name: str = "time_tool"
    description: str = "Returns the current date and time in ISO 8601, in UTC or in the time zone that is given."
    args_schema: type[BaseModel] = TimeInput
    handle_tool_error: bool = True

    def _run(self, timezone: str = "UTC") -> str:
        try:
            zone = ZoneInfo(timezone)
        except (ValueError, OSError, LookupError) as e:
            raise ToolException(f"There is no time zone {timezone!r}; use an IANA name such as Europe/Berlin.") from e
        return datetime.now(zone).isoformat(timespec="seconds")  # noqa: TID251 - in a tool, not in the server
