"""Packages that a tool's file declares by inline script metadata (PEP 723), in an environment of their own.

What is declared is resolved once, at upload, beside the packages that the server has; the resolved set, with the hash
of every wheel, is kept with the version of the tool. Every machine installs exactly that set, once, from wheels alone:
no code of a package runs before a tool imports it. An environment holds only what the server itself does not have.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from agents.sandbox import privileges
from agents.sandbox.manifest import Packages, Resolved, ToolRejected
from agents.sandbox.script_metadata import Declared

SETTING = "AIP_TOOL_PACKAGES"
RESOLVE_SECONDS = 60
INSTALL_SECONDS = 300
MAX_MESSAGE = 600
PINNED = re.compile(
    r"(?m)^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?P<hashes>(?:[^\n]*\\\n)*[^\n]*)"
)
HASH = re.compile(r"--hash=(\S+)")


class PackagesUnavailable(Exception):
    """The packages of a tool cannot be installed on this machine now; the text says why."""


def check(wanted: Declared, allowed: Sequence[str]) -> None:
    """Whether this server may install what a file declares. Raises ToolRejected, which names package and setting."""
    try:
        if platform.python_version() not in SpecifierSet(wanted.requires_python):
            raise ToolRejected(
                f"The file requires Python {wanted.requires_python}; the server runs {platform.python_version()}."
            )
    except InvalidSpecifier as e:
        raise ToolRejected(f"`requires-python` in the block `# /// script` cannot be read: {e}.") from e
    names = {canonicalize_name(name) for name in allowed}
    for text in wanted.requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as e:
            raise ToolRejected(f"The dependency {text!r:.100} cannot be read: {e}.") from e
        if requirement.url:
            raise ToolRejected(f"The dependency {text!r:.100} names an address; packages come from the index alone.")
        if "*" not in allowed and canonicalize_name(requirement.name) not in names and not _is_here(requirement):
            raise ToolRejected(
                f"The file declares the package {requirement.name} (`dependencies` in the block `# /// script`), which "
                f"this server does not allow: its administrator can add it to {SETTING}."
            )


def _is_here(requirement: Requirement) -> bool:
    """Whether the server has it itself, in a version that fits."""
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False


def _ours() -> dict[str, str]:
    """The packages of the server, which every tool may import: name and version."""
    return {canonicalize_name(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}


def resolve(wanted: Declared) -> Packages:
    """The exact set for what a file declares, beside the server's own packages. Raises ToolRejected."""
    ours = _ours()
    resolved: list[Resolved] = []
    if any(not _is_here(Requirement(text)) for text in wanted.requirements):
        with _workshop() as place:
            (place / "wanted.in").write_text("\n".join(wanted.requirements))
            (place / "ours.txt").write_text("\n".join(f"{name}=={version}" for name, version in ours.items()))
            command = ["pip", "compile", "wanted.in", "--constraints", "ours.txt", "--generate-hashes", "--no-header"]
            try:
                pinned = _uv(place, *command, "--no-annotate", seconds=RESOLVE_SECONDS)
            except PackagesUnavailable as e:
                raise ToolRejected(
                    f"The packages that the file declares cannot be installed beside the server's own, from wheels: {e}"
                ) from e
        resolved = [one for one in _pinned(pinned) if ours.get(one["name"]) != one["version"]]
    return {
        "requires_python": wanted.requires_python,
        "declared": list(wanted.requirements),
        "resolved": resolved,
        "key": key_of(resolved),
    }


def _pinned(text: str) -> list[Resolved]:
    found: list[Resolved] = [
        {
            "name": canonicalize_name(one["name"]),
            "version": one["version"],
            "hashes": sorted(HASH.findall(one["hashes"])),
        }
        for one in PINNED.finditer(text)
    ]
    return sorted(found, key=lambda one: one["name"])


def key_of(resolved: Sequence[Resolved]) -> str:
    """Names a set: other packages, versions or wheels are another. "" for the empty one."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest() if resolved else ""


def path_of(packages: Packages | None, root: Path) -> str:
    """The directory of a set's environment below `root`, built if it is not there; "" where the server has it all.

    Raises PackagesUnavailable. One process builds at a time; a directory of that name is always whole.
    """
    if not packages or not packages["resolved"]:
        return ""
    if packages["key"] != key_of(packages["resolved"]):
        raise PackagesUnavailable("The kept set of the tool's packages does not fit its name.")
    # Wheels differ between machines and Pythons that may share a directory.
    name = f"{packages['key']}-{sys.implementation.cache_tag}-{platform.machine()}"
    place = root / name
    if not place.is_dir():
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _locked(root / f".{name}.lock"):
            if not place.is_dir():
                _build(packages["resolved"], place)
    return str(place)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(resolved: Sequence[Resolved], place: Path) -> None:
    """Install beside `place`, and give it its name when it is whole. What an earlier build left is removed first."""
    begun = f".{place.name}.begun"
    for left in place.parent.glob(f"{begun}*"):
        shutil.rmtree(left, ignore_errors=True)
    with _workshop(place.parent, begun) as workshop:
        (workshop / "set.txt").write_text("\n".join(map(_line, resolved)))
        install = ["pip", "install", "--target", "packages", "--no-deps", "--require-hashes", "-r", "set.txt"]
        _uv(workshop, *install, "--link-mode", "copy", seconds=INSTALL_SECONDS)
        made = workshop / "packages"
        for path in [made, *made.rglob("*")]:
            os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        made.rename(place)


def _line(one: Resolved) -> str:
    return " ".join([f"{one['name']}=={one['version']}", *(f"--hash={each}" for each in one["hashes"])])


@contextlib.contextmanager
def _workshop(parent: Path | None = None, prefix: str = "aip-packages-") -> Iterator[Path]:
    """A directory of the tools' user, in which `uv` works."""
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        if os.geteuid() == 0:
            os.chown(place, *privileges.nobody())
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _uv(place: Path, *arguments: str, seconds: float) -> str:
    """What `uv` prints. It runs as the tools' user, and knows of the server only where its index is.

    Raises PackagesUnavailable.
    """
    program = _program()
    passed = {name: value for name, value in os.environ.items() if name.startswith("UV_INDEX") or name in PASSED}
    environment = {"HOME": str(place), "TMPDIR": str(place), "PATH": "/usr/local/bin:/usr/bin:/bin", **passed}
    common = ["--quiet", "--no-cache", "--no-config", "--only-binary", ":all:", "--python"]
    try:
        with _reachable(Path(program).resolve(), Path(sys.executable).resolve()) as ((uv, python), rights):
            done: subprocess.CompletedProcess[str] = subprocess.run(
                [uv, *arguments, *common, python],
                cwd=place,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                preexec_fn=_die_with_parent,  # after the change of user, which clears it
                **rights,
            )
    except subprocess.TimeoutExpired as e:
        raise PackagesUnavailable(f"uv did not come to an end within {seconds:g} seconds.") from e
    except OSError as e:
        raise PackagesUnavailable(f"uv cannot be started: {e.strerror}.") from e
    except privileges.Unreachable as e:
        raise PackagesUnavailable(str(e)) from e
    if done.returncode:
        raise PackagesUnavailable(_said(done.stderr))
    return done.stdout


def _die_with_parent() -> None:
    """Let a `uv` whose server is killed not write on into a directory that the next build removes."""
    privileges.prctl(privileges.PR_SET_PDEATHSIG, signal.SIGKILL)


def _program() -> str:
    """`uv`: the one that started the server, that of its Python, or that of the path. Raises PackagesUnavailable."""
    beside = f"{sys.prefix}/bin{os.pathsep}{sys.base_prefix}/bin"
    program = os.environ.get("UV") or shutil.which("uv", path=beside) or shutil.which("uv")
    if not program:
        raise PackagesUnavailable("The program uv is not installed on the server.")
    return program


@contextlib.contextmanager
def _reachable(*programs: Path) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Paths by which the tools' user reaches programs, and how to start one as it; it may not enter root's own home."""
    if os.geteuid() != 0:
        yield [str(program) for program in programs], {}
        return
    uid, gid = privileges.nobody()
    trees: list[int] = []
    paths = []
    try:
        for program in programs:
            tree = program.parent if program.parent.name != "bin" else program.parent.parent
            trees.append(privileges.detached_tree(str(tree)))
            paths.append(f"/proc/self/fd/{trees[-1]}/{program.relative_to(tree)}")
        yield paths, {"user": uid, "group": gid, "extra_groups": [], "pass_fds": trees}
    finally:
        for fd in trees:
            os.close(fd)


# What `uv` needs of the server's environment to find its index.
PASSED = frozenset(
    f"UV_{name}"
    for name in (
        "DEFAULT_INDEX", "EXTRA_INDEX_URL", "FIND_LINKS", "NATIVE_TLS", "SYSTEM_CERTS", "HTTP_TIMEOUT", "EXCLUDE_NEWER",
        "OFFLINE", "INSECURE_HOST",
    )
) | {
    "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
}  # fmt: skip


def _said(text: str) -> str:
    """What uv says, in one line and without addresses, which may hold a password."""
    line = " ".join(re.sub("[\u00d7\u2500-\u25ff]", " ", text).split())
    return re.sub(r"\S+://\S+", "the index", line)[:MAX_MESSAGE] or "uv gave no reason."
