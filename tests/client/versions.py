"""What differs between the versions of the client: since 0.10 it shows its own text, never the server's."""

import re
from importlib.metadata import version

SHOWS_THE_SERVERS_TEXT = version("glaip-sdk").startswith("0.9.")
ITS_OWN = {
    400: "The request is invalid. Check the supplied fields and try again.",
    401: "Authentication failed. Check your credentials and sign in again.",
    404: "The resource was not found. Check the resource identifier and account.",
    409: "The request conflicts with the current state. Refresh and check before retrying.",
}
ITS_OWN_OF_A_FIELD = "Check this field and provide a valid value."


def refusal(status: int, of_server: str) -> str:
    """A pattern of the text that the user reads: what the server says, or the client's own and the request's id."""
    if SHOWS_THE_SERVERS_TEXT:
        return re.escape(of_server)
    return rf"^HTTP {status}: {re.escape(ITS_OWN[status])} \(Request ID: [0-9a-f]{{32}}\)$"
