"""Which files a tool may read: the interpreter, its packages, and what programs need of the system."""

import os
import sys
from collections.abc import Iterator, Sequence

# Of a Python's prefix. A virtual environment may stand in the project itself, so never the whole of it.
OF_A_PREFIX = ("bin", "include", "lib", "lib32", "lib64", "libexec", "pyvenv.cfg", "share", "ssl")
SYSTEM = (
    "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/gnu/store", "/nix/store",
    "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/share",
    "/usr/include",
    "/usr/local/bin", "/usr/local/sbin", "/usr/local/lib", "/usr/local/lib64", "/usr/local/libexec",
    "/usr/local/share", "/usr/local/include", "/usr/local/ssl",
    "/sys/devices/system/cpu",
)  # fmt: skip
ETC = (
    "alternatives", "ca-certificates", "crypto-policies", "fonts", "gai.conf", "group", "host.conf", "hosts",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "mime.types", "nsswitch.conf", "os-release",
    "passwd", "pki/ca-trust/extracted", "pki/tls/certs", "pki/tls/openssl.cnf", "protocols", "resolv.conf", "services",
    "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")


def prefixes() -> list[str]:
    return list(dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)))


def of_python(search_path: Sequence[str], packages: Sequence[str]) -> list[str]:
    """Without what a file `.pth` adds, as for a project that is installed to be edited. `packages` may be anywhere."""
    own = tuple(f"{prefix}/" for prefix in prefixes())
    named = ("site-packages", "dist-packages")
    return [path for path in search_path if path in packages or path.endswith(named) or path.startswith(own)]


def readable(closed: Sequence[str]) -> list[str]:
    """What is there of it. `closed` are directories that stay closed wherever they lie."""
    by_number = [path for path in sys.path if path.startswith("/proc/self/fd/")]  # `privileges.open_packages`
    wanted = [
        *(path for path in sys.path if path not in by_number),
        *(f"{prefix}/{part}" for prefix in prefixes() for part in OF_A_PREFIX),
        *SYSTEM,
        *(f"/etc/{name}" for name in ETC),
    ]
    real_closed = [os.path.realpath(path) for path in closed]
    return by_number + list(dict.fromkeys(part for path in wanted for part in _without(path, real_closed)))


def _without(path: str, closed: Sequence[str]) -> Iterator[str]:
    """The path; where a closed directory lies in it, all else that does. What lies in a closed one may be readable."""
    real = os.path.realpath(path)
    if real in closed or not any(os.path.commonpath((real, one)) == real for one in closed):
        if real not in closed and os.path.exists(path):  # noqa: PTH110 - hundreds of times per start
            yield path
        return
    with os.scandir(real) as entries:
        for entry in entries:
            yield from _without(entry.path, closed)
