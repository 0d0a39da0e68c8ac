"""Tell open consoles that a request opened or closed. They read the row."""

from aip import hints
from hitl.models import ApprovalRequest

GROUP = "hitl.requests"


def announce(request: ApprovalRequest) -> None:
    hints.send(GROUP, {"type": "request.changed", "id": str(request.pk), "status": request.status})
