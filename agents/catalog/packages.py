"""The packages that tools declare: which this server allows, and where they are installed."""

from django.conf import settings

from agents.sandbox import environments, script_metadata
from agents.sandbox.client import SandboxUnavailable
from agents.sandbox.environments import PackagesUnavailable
from agents.sandbox.manifest import Manifest, Packages


def learn(source: str) -> Packages | None:
    """The exact packages for what a file declares; None where it declares nothing. Raises ToolRejected."""
    wanted = script_metadata.declared(source)
    environments.check(wanted, settings.TOOL_PACKAGES)
    if not wanted.requirements:
        return None
    return environments.resolve(wanted)


def directory_of(packages: Packages | None) -> str:
    """Where a tool's packages are, installed now if they are not there; "" for none. Raises SandboxUnavailable."""
    try:
        return environments.path_of(packages, settings.TOOL_PACKAGES_DIR)
    except (PackagesUnavailable, OSError) as e:
        raise SandboxUnavailable(f"The tool's packages cannot be installed on this machine: {e}") from e


def key_of(manifest: Manifest) -> str:
    """Names the set of a tool's packages; "" for none."""
    packages = manifest.get("packages")
    return packages["key"] if packages else ""
