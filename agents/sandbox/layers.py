"""The layers around a tool's process: which of them hold on this machine, and how they are put on."""

import os
import signal
import sys

from agents.sandbox import landlock, paths, privileges
from agents.sandbox.limits import Limits

CLONE_NEWNET = 0x40000000
LANDLOCK = "landlock"


def held() -> tuple[str, ...]:
    """By name, those that this machine can have."""
    return (LANDLOCK,) if landlock.version() else ()


def put_on(directory: str, limits: Limits, *, network: bool) -> None:
    """Give up all rights but those of a tool, for good. Raises OSError where a layer that should hold does not.

    While it waits for its call the process keeps its user, so that no tool can end it. Without `network` it reaches
    none, where the server is root and may make namespaces.
    """
    os.setsid()
    if os.geteuid() == 0 and not network and sys.platform == "linux":
        privileges.LIBC.unshare(CLONE_NEWNET)  # where it is refused, the check has its time limit all the same
    privileges.prctl(privileges.PR_SET_NO_NEW_PRIVS, 1)
    if landlock.version():
        # Now, and not ahead of the call: a file of /etc may have been replaced by another since.
        landlock.confine(directory, limits.readable, paths.DEVICES)
    if os.geteuid() == 0:
        uid, gid = privileges.nobody()
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    privileges.prctl(privileges.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
