"""What the server, the helper's processes and an uploaded tool say to each other: frames on sockets and a pipe."""

import socket
import struct

MAX_OUTPUT_BYTES = 1_000_000  # of a result
MAX_FRAME_BYTES = 2 * MAX_OUTPUT_BYTES + 4096  # the same as JSON, which may double it

# What a frame says. The tool's process writes the first four; the rest are its supervisor's, which it cannot forge.
RESULT, FAILED = b"=", b"!"
NOT_RUN = b"N"  # refused before the tool's body
CHANGED = b"C"  # not run either: what would run is not what was shown
FROM_THE_TOOL = (RESULT, FAILED, NOT_RUN, CHANGED)
TAKEN = b"+"  # said before the tool starts: without it, nothing has run
TIMED_OUT, EXITED, KILLED, TOO_LARGE, GARBLED, UNAVAILABLE = b"T", b"X", b"K", b"L", b"G", b"U"
TOO_LATE = b"O"  # said in place of TAKEN: the right to start had lapsed
HEADER = struct.Struct(">cQ")

Outcome = tuple[bytes, bytes]


def send(sock: socket.socket, kind: bytes, payload: bytes) -> None:
    sock.sendall(HEADER.pack(kind, len(payload)) + payload)


def receive(sock: socket.socket) -> Outcome:
    """One frame. Raises ConnectionError when the other side is gone, TimeoutError as the socket says."""
    kind, length = HEADER.unpack(_exactly(sock, HEADER.size))
    return kind, _exactly(sock, length)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(min(size - len(data), 1 << 20))
        if not chunk:
            raise ConnectionError("the other side is gone")
        data += chunk
    return bytes(data)
