"""Uploaded tools run apart: what comes back, what is ended, what they cannot reach."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from agents.sandbox import client as sandbox
from agents.sandbox import landlock, paths
from agents.sandbox.client import MAX_OUTPUT_BYTES, ToolCode, ToolFailed, ToolResult
from agents.sandbox.manifest import Description, ToolRejected

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tests" / "tools"
GREETING = (TOOLS / "greeting.py").read_text()

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="tools change their user only where the server is root")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


@pytest.fixture(scope="module", autouse=True)
def _no_helper_left() -> Iterator[None]:
    yield
    sandbox.close()


def tool(lines: str, *, top: str = "", arguments: str = "") -> str:
    """A file with one tool whose `_run` is these lines."""
    return (
        f"import json, os, signal, sys, time\nfrom langchain_core.tools import BaseTool\n{textwrap.dedent(top)}\n"
        f"class Probe(BaseTool):\n    name: str = 'probe'\n    description: str = 'Probes.'\n"
        f"    def _run(self{arguments}):\n{textwrap.indent(textwrap.dedent(lines or 'pass'), ' ' * 8)}\n"
    )


def run(source: str, timeout: float = 10, **arguments: object) -> str:
    return text_of(sandbox.call(ToolCode(source=source, object_name="Probe"), arguments, timeout=timeout))


def text_of(result: ToolResult) -> str:
    assert isinstance(result.content, str)
    assert not result.failed
    return result.content


def failure(source: str, timeout: float = 10, **arguments: object) -> str:
    with pytest.raises(ToolFailed) as failed:
        run(source, timeout, **arguments)
    return str(failed.value)


def eventually(fact: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.01)
    return fact()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def helper_pid() -> int:
    """The parent of the keeper, which is the parent of the tool."""
    keeper = int(run(tool("return os.getppid()")))
    assert eventually(lambda: not is_alive(keeper))
    (helper,) = [one for one in psutil.Process().children() if "agents.sandbox.host" in " ".join(one.cmdline())]
    return helper.pid


# Calls


def test_it_returns_the_text_of_the_tool():
    tool = ToolCode(source=GREETING, object_name="GreetingTool", settings={"word": "Hi"})
    greeting = sandbox.call(tool, {"name": "Ada", "times": 2}, timeout=5)
    assert text_of(greeting) == "Hi, Ada! Hi, Ada!"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("'plain'", "plain"),
        ("{'ä': [1, None]}", '{"ä": [1, null]}'),
        ("b'bytes'", "b'bytes'"),
        (r"'nul \0 and \ud800 alone'", "nul \0 and \ud800 alone"),
        ("''", ""),
    ],
)
def test_it_makes_text_of_any_result(value, text):
    assert run(tool(f"return {value}")) == text


def test_a_call_whose_right_to_start_has_lapsed_does_not_start() -> None:
    def call(start_before: float) -> str:
        probe = ToolCode(source=tool("return 'ran'"), object_name="Probe")
        return text_of(sandbox.call(probe, {}, timeout=10, start_before=start_before))

    assert call(time.monotonic() + 10) == "ran"
    with pytest.raises(sandbox.TooLate):
        call(time.monotonic() - 0.01)


def test_arguments_that_look_like_a_tool_call_are_arguments():
    source = tool("return type + id", arguments=", type, id, args")
    assert run(source, type="tool_call", id="1", args={"type": "x", "id": "y", "args": {}}) == "tool_call1"


def test_many_threads_may_call_at_once():
    source = tool("return number * 2", arguments=", number")
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda n: run(source, number=n), range(32))) == [str(n * 2) for n in range(32)]


def test_calls_of_slow_tools_overlap():
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: run(tool("time.sleep(0.5)")), range(8)))
    assert time.monotonic() - began < 8 * 0.5 / 2


def test_a_helper_that_died_is_replaced():
    os.kill(helper_pid(), 9)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: run(tool("return 'back'")), range(4))) == ["back"] * 4


def helper_and_spare() -> tuple[psutil.Process, psutil.Process, psutil.Process]:
    """The helper, the keeper that waits for the next call, and its tool's process."""
    helper = psutil.Process(helper_pid())
    assert eventually(lambda: len(helper.children()) == 1 and len(helper.children(recursive=True)) == 2)
    return helper, *helper.children(recursive=True)


@on_linux
@pytest.mark.parametrize("which", [1, 2], ids=["keeper", "tool"])
def test_a_spare_that_was_killed_is_replaced(which):
    family = helper_and_spare()
    directory, victim = Path(family[2].cwd()), family[which]
    victim.kill()
    assert eventually(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)
    assert run(tool("return 'ran'")) == "ran"
    if which == 1:  # there was nobody left to remove it
        directory.rmdir()
    assert not directory.exists()


@on_linux
def test_a_closed_helper_leaves_no_process():
    processes = helper_and_spare()
    sandbox.close()
    assert eventually(lambda: not any(process.is_running() for process in processes))


# Failures


def test_it_says_what_the_tool_raised_without_paths():
    assert failure(tool("raise LookupError('no such order')")) == "The tool raised LookupError: no such order"


def test_it_says_which_argument_does_not_fit_and_why():
    with pytest.raises(ToolFailed, match="arguments do not fit the tool: times: Input should be less than"):
        sandbox.call(ToolCode(source=GREETING, object_name="GreetingTool"), {"name": "Ada", "times": 9}, timeout=5)


def test_a_validation_error_of_the_tools_own_is_not_blamed_on_the_arguments():
    top = "from pydantic import BaseModel\nclass Order(BaseModel):\n    amount: int"
    assert failure(tool("Order(amount='many')", top=top)).startswith("The tool raised ValidationError: amount: ")


def test_it_says_which_field_the_class_refuses():
    tool = ToolCode(source=GREETING, object_name="GreetingTool", settings={"word": 1})
    with pytest.raises(ToolFailed, match="settings in tool_configs: word: Input should be a valid string"):
        sandbox.call(tool, {"name": "A"}, timeout=5)


@pytest.mark.parametrize(
    ("lines", "top", "arguments", "named"),
    [
        ("return str(get_store())", "from langgraph.config import get_store", "", "get_store of LangGraph in line 3"),
        ("get_stream_writer()('x')", "from langgraph.config import get_stream_writer", "", "a stream writer"),
        ("return interrupt('x')", "from langgraph.types import interrupt", "", "an interrupt"),
        (
            "return str(runtime.store.get(('a',), 'b'))",
            "from langchain.tools import ToolRuntime",
            ", runtime: ToolRuntime",
            "ToolRuntime.store of LangGraph in line 8, which needs a store",
        ),
        ("rt.stream_writer('x')", "from langchain.tools import ToolRuntime", ", rt: 'ToolRuntime'", "a stream writer"),
    ],
)
def test_what_needs_the_graph_is_refused_by_name(lines, top, arguments, named):
    with pytest.raises(ToolRejected, match=named):
        sandbox.describe(tool(lines, top=top, arguments=arguments))


@pytest.mark.parametrize("lines", ["return runtime.tool_call_id", "return [self.runtime.store, {'runtime': 1}.store]"])
def test_a_runtime_of_which_only_the_rest_is_used_is_accepted(lines):
    top = "from langchain.tools import ToolRuntime"
    made = sandbox.describe(tool(lines, top=top, arguments=", runtime: ToolRuntime"))
    assert made.manifest["injected"] == {"runtime": "runtime"}


def test_a_tool_that_hangs_is_stopped_at_its_limit():
    stopped = "The tool was stopped after 0.3 seconds. It began and may have had its effect, whole or in part."
    assert failure(tool("while True: pass"), timeout=0.3) == stopped


def test_a_tool_that_ignores_signals_is_stopped_too():
    source = tool("for n in range(1, 32):\n    if n not in (9, 19): signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)")
    assert "was stopped after 0.3 seconds" in failure(source, timeout=0.3)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("os._exit(0)", r"ended its process \(exit code 0\) and gave no result"),
        ("sys.exit(3)", r"called exit\(3\)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"crashed Python \(SIGSEGV\).* may have had its effect"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        (f"return 'x' * {MAX_OUTPUT_BYTES + 1}", "more than 1,000,000 bytes"),
        ("raise ValueError('x' * 5_000_000)", "ValueError: x{1000}$"),
        ("x = []\nfor _ in range(100_000): x = [x]\nreturn x", "raised RecursionError"),
        ("return bytearray(8 * 1024**3)", "raised MemoryError"),
        ("class Odd(Exception):\n    def __str__(self): raise OSError\nraise Odd", "Odd: .*text cannot be had"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    ],
)
def test_it_says_how_the_tool_failed(lines, said):
    with pytest.raises(ToolFailed, match=said):
        run(tool(lines))


@pytest.mark.parametrize(
    "garbage", [r"b'\xff' * 100", r"b'=' + bytes(8)[:3]", r"b'=\0\0\0\0\0\0\0\1\xff'", "b'='+b'\\xff'*8"]
)
def test_garbage_in_the_result_pipe_is_a_failed_call(garbage):
    source = tool(f"""
        for fd in range(3, 256):
            try: os.write(fd, {garbage})
            except OSError: pass
        os._exit(0)
    """)
    assert failure(source).startswith("The tool ")


def test_a_tool_that_closes_everything_and_goes_on_is_stopped():
    assert "stopped after 0.3" in failure(tool("os.closerange(0, 256)\nwhile True: pass"), timeout=0.3)


def test_a_flood_of_prints_is_harmless():
    lines = "for _ in range(200_000): print('flood'); print('flood', file=sys.stderr)\nreturn 'dry'"
    assert run(tool(lines)) == "dry"


@as_root
@on_linux
def test_a_fork_bomb_ends_with_its_call():
    source = tool(
        """
        import ctypes
        ctypes.CDLL(None).prctl(15, title.encode())  # PR_SET_NAME, which a fork inherits
        while True:
            try: os.fork()
            except OSError: time.sleep(0.01)
        """,
        arguments=", title",
    )
    title = f"bomb-{os.urandom(4).hex()}"
    assert "stopped after" in failure(source, timeout=0.3, title=title)
    assert title not in subprocess.check_output(["ps", "-e", "-o", "comm="], text=True)


# What is left of a call


def test_it_works_in_a_directory_of_its_own_that_is_removed():
    source = tool("""
        open("note", "w").write("mine")
        return json.dumps([os.getcwd(), os.environ["HOME"], os.environ["TMPDIR"], os.listdir()])
    """)
    directory, home, temporary, listed = json.loads(run(source))
    assert home == temporary == directory
    assert listed == ["note"]
    assert not Path(directory).exists()


def test_a_directory_that_resists_is_removed():
    source = tool("""
        start = os.getcwd()
        for _ in range(1200):
            os.mkdir("d"); os.chdir("d")
        os.chmod(".", 0)
        os.chmod(start, 0)
        return start
    """)
    assert not Path(run(source)).exists()


@on_linux
def test_a_daemon_that_the_tool_started_is_ended_before_the_call_returns():
    source = tool("""
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.write(writer, str(os.getpid()).encode())
                time.sleep(60)
            os._exit(0)
        return os.read(reader, 20).decode()
    """)
    began = time.monotonic()
    assert not is_alive(int(run(source)))
    assert time.monotonic() - began < 5


REPORTING = tool(
    """
    import socket
    with socket.create_connection(("127.0.0.1", port)) as listener:
        listener.sendall(json.dumps([os.getpid(), os.getppid()]).encode())
    time.sleep(60)
    """,
    arguments=", port",
)
SERVER = """
import sys
from agents.sandbox import client as sandbox
from agents.sandbox import landlock, paths
probe = sandbox.ToolCode(source=sys.argv[1], object_name="Probe")
sandbox.call(probe, {"port": int(sys.argv[2])}, timeout=60)
"""


@on_linux
def test_tool_and_helper_end_when_the_server_is_killed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        port = str(listener.getsockname()[1])
        server = subprocess.Popen([sys.executable, "-c", SERVER, REPORTING, port], cwd=ROOT)
        try:
            with listener.accept()[0] as reported:
                pids = json.loads(reported.recv(100))
            pids.append(psutil.Process(pids[1]).ppid())
            assert server.pid == psutil.Process(pids[2]).ppid()
            assert all(map(is_alive, pids))
        finally:
            server.kill()
            server.wait()
    assert eventually(lambda: not any(map(is_alive, pids)))


# What a tool can reach


@on_linux
def test_it_has_an_empty_environment_no_open_files_and_limits():
    source = tool("""
        import ctypes, resource, stat
        kinds = []
        for fd in range(4096):
            try: found = os.fstat(fd)
            except OSError: continue
            if found.st_rdev != os.stat("/dev/null").st_rdev and not stat.S_ISDIR(found.st_mode):
                kinds.append(stat.S_IFMT(found.st_mode) == stat.S_IFIFO)
        return json.dumps([sorted(os.environ), kinds, resource.getrlimit(resource.RLIMIT_FSIZE)[1],
            ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 1, os.getsid(0) == os.getpid()])  # PR_GET_NO_NEW_PRIVS
    """)
    names, are_pipes, largest_file, no_new_privileges, own_session = json.loads(run(source))
    assert names == ["HOME", "LANG", "PATH", "TMPDIR"]
    assert are_pipes == [True]
    assert largest_file == 100 * 1024**2
    assert no_new_privileges
    assert own_session


@as_root
def test_it_runs_as_nobody_and_imports_lazily():
    source = tool("import sqlite3, urllib.request, httpx\nreturn [os.getuid(), os.geteuid(), os.getgroups()]")
    assert json.loads(run(source)) == [65534, 65534, []]


@as_root
@on_linux
def test_packages_below_a_closed_directory_can_be_imported_and_nothing_next_to_them_read(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    packages = closed / "project" / "site-packages"
    packages.mkdir(parents=True)
    closed.chmod(0o700)
    (packages / "hidden_package.py").write_text("WORD = 'found'")
    (closed / "project" / "pyproject.toml").write_text("secret")
    monkeypatch.syspath_prepend(str(packages))
    source = tool(
        """
        import hidden_package
        here = os.path.dirname(hidden_package.__file__)
        fd = os.open(here, os.O_RDONLY)
        os.chdir(here)
        readable = []
        for base in (here, f"/proc/self/fd/{fd}", ".", f"/proc/{os.getpid()}/cwd", path):
            for up in ("..", "../..", "../../.."):
                try: readable.append(open(f"{base}/{up}/pyproject.toml").read())
                except OSError: pass
        return [hidden_package.WORD, here.startswith("/proc/self/fd/"), readable]
    """,
        arguments=", path",
    )
    sandbox.close()
    try:
        assert json.loads(run(source, path=str(packages))) == ["found", True, []]
    finally:
        sandbox.close()


WARM = """
import sys
from agents.sandbox import client as sandbox
from agents.sandbox import landlock, paths
sys.path.append(sys.argv[1])
try:
    sandbox.warm()
except sandbox.SandboxUnavailable as e:
    print(e)
"""


@as_root
@on_linux
def test_it_says_which_directory_must_be_readable_where_it_cannot_open_it(tmp_path):
    packages = tmp_path / "site-packages"
    packages.mkdir(mode=0o700)
    command = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", WARM, str(packages)]
    said = subprocess.check_output(command, cwd=ROOT, text=True, timeout=60)
    assert "run as the user nobody, which cannot read /" in said
    assert "readable for everyone" in said


# A server with secrets. It looks for them itself, which shows that they can be found, then lets a tool look.
SERVER_WITH_SECRETS = """
import json, os, sys
import psutil
from agents.sandbox import client as sandbox
from agents.sandbox import landlock, paths
source = open("tests/tools/seeker.py").read()
seeker = {"__name__": "seeker"}
exec(source, seeker)
where = {"data_dir": sys.argv[1], "marker": os.environ["OPENAI_API_KEY"]}
own = seeker["Seeker"]()._run(**where)
sandbox.warm()
# What it cannot find by itself where it may read neither /proc nor the directory.
relatives = psutil.Process().parents() + psutil.Process().children(recursive=True)
where["files"] = [path for path in own["looked_at"] if path.startswith(sys.argv[1])]
where["pids"] = [os.getpid(), *(one.pid for one in relatives)]
tools = sandbox.call(sandbox.ToolCode(source=source, object_name="Seeker"), where, timeout=30).content
print(json.dumps([os.getpid(), own, json.loads(tools)]))
"""


@as_root
@on_linux
def test_it_finds_no_secret_of_the_server():
    marker = f"marker-{os.urandom(8).hex()}"
    secrets = {"AIP_MASTER_API_KEY": marker, "OPENAI_API_KEY": marker, "DATABASE_URL": f"postgresql://aip:{marker}@/"}
    with tempfile.TemporaryDirectory() as data_dir:
        Path(data_dir).chmod(0o755)
        secret = Path(data_dir) / "master-api-key"
        secret.touch(mode=0o600)
        secret.write_text(marker)
        command = [sys.executable, "-c", SERVER_WITH_SECRETS, data_dir]
        environment = {**os.environ, **secrets}
        output = subprocess.check_output(command, cwd=ROOT, env=environment, timeout=60)
    pid, own, tools = json.loads(output)
    assert str(secret) in own["found_in"]
    assert "own environment" in own["found_in"]
    assert pid in own["pids"]
    assert len(tools["pids"]) >= 3
    assert {str(secret), f"/proc/{pid}/environ", f"/proc/{pid}/mem"} <= set(tools["looked_at"])
    assert tools["found_in"] == []


# What can become a tool


def test_it_describes_a_tool():
    assert sandbox.describe(GREETING) == Description(
        class_name="GreetingTool",
        name="greet",
        description="Greets a person.",
        args_schema={
            "title": "greet",
            "description": "Greets a person.",
            "type": "object",
            "properties": {
                "name": {"title": "Name", "type": "string", "description": "Whom to greet"},
                "times": {"title": "Times", "type": "integer", "default": 1, "minimum": 1, "maximum": 3},
            },
            "required": ["name"],
        },
        object_name="GreetingTool",
        manifest={
            "kind": "class",
            "is_async": False,
            "defaults": {"times": 1},
            "made_when_run": [],
            "injected": {},
            "has_model": True,
            "schema_settles": True,
            "settings_schema": None,
            "secrets": [],
        },
    )


@pytest.mark.parametrize(
    "source",
    [
        "\ufeff" + GREETING,
        GREETING.replace('@tool_plugin(version="1.0.0")', "@tool_plugin"),
        GREETING.replace("\n", "\r\n"),
        GREETING + "class _Shouting(GreetingTool):\n    name: str = 'greet'\n",
        GREETING + "from langchain_core.tools import StructuredTool, Tool\n",
    ],
)
def test_it_takes_files_as_people_write_them(source):
    assert sandbox.describe(source).name == "greet"


def test_a_schema_may_be_given_as_json_schema():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    source = tool("return ''").replace("    def _run", f"    args_schema: dict = {schema}\n    def _run")
    assert sandbox.describe(source).args_schema["properties"] == schema["properties"]


REJECTED = {
    "class X(": r"not valid Python 3\S+, which the server runs, line 1: .*class X",
    "(" * 300: "not valid Python",
    "import no_such_package": "no_such_package, which is not installed on the server.* one file must stand alone",
    "import no_such.part": "imports no_such, which is not installed",
    "from json import no_such_name": r"cannot import name 'no_such_name' from 'json'\. The server runs Python 3",
    "x = 1\nx / 0": "raised ZeroDivisionError in line 2: division by zero",
    "import sys; sys.exit()": "exits while it is loaded",
    "import os; os._exit(0)": r"Loading the file ended its process \(exit code 0\)",
    "import os, signal; os.kill(os.getpid(), signal.SIGABRT)": "Loading the file was killed by SIGABRT",
    "": "has no tool class: define one class derived from BaseTool",
    "from langchain_core.tools import StructuredTool": "has no tool class.*@tool",
    "from .helpers import slug": "relative import in line 1: one file must stand alone",
    "from langchain.callbacks.manager import X": "LangChain 1 has it in langchain_core.callbacks",
    "from langchain.agents import AgentExecutor": "LangChain 1 has it in langchain_classic.agents",
    "import os\nKEY = os.environ['MAIL_KEY']": "reads the environment variable MAIL_KEY while it is loaded in line 2",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "Loading the file crashed Python",
    tool("")
    + "class Other(Probe): pass\nclass Third(Probe): pass": r"several tools \(Other \(probe\), Third .* say which",
    tool("").replace("    description:", "    key: str\n    description:"): r"without arguments \(key: Field required",
    tool("").replace("    name:", "    def __init__(self, key): pass\n    name:"): "give each of its fields a default",
    tool("").replace("    name: str = 'probe'\n", ""): "Probe has no name: add",
    tool("").replace("    description: str = 'Probes.'\n", ""): "Probe has no description: add",
    tool("").replace("'Probes.'", "' '"): "probe has no description",
    tool("").replace("'probe'", "'two words'"): "name 'two words' cannot be used",
    tool("").replace("'probe'", "'probe\\n'"): "cannot be used",
    tool("").replace("'probe'", f"'{'x' * 65}'"): "cannot be used",
    tool("").replace("'Probes.'", "'nul \\0'"): "must not hold NUL",
    tool("").replace("'Probes.'", "'half \\ud800'"): "must not hold NUL or unpaired surrogates",
    tool("").replace("def _run", "def other"): "Probe does not implement _run",
    tool("", arguments=", when: type(sys)"): "cannot be expressed as JSON Schema",
    tool("", arguments=", *, call: __import__('collections').abc.Callable"): "cannot be expressed as JSON Schema",
    tool("").replace("    def _run", "    args_schema: dict = {'type': object()}\n    def _run"): "as JSON Schema",
    tool("").replace("    def _run", "    args_schema: dict = {'type': 'array'}\n    def _run"): '"type": "object"',
}


@pytest.mark.parametrize(("source", "said"), REJECTED.items(), ids=map(str, range(len(REJECTED))))
def test_it_tells_the_author_what_to_change(source, said):
    with pytest.raises(ToolRejected, match=said) as rejected:
        sandbox.describe(source)
    # The published client takes these words for a sign to upload the file again, with a decorator.
    assert "no classes found" not in str(rejected.value)
    assert "@tool_plugin" not in str(rejected.value)


def test_a_file_that_hangs_while_it_is_loaded_is_stopped():
    with pytest.raises(ToolRejected, match=r"Loading the file was stopped after 0\.3 seconds"):
        sandbox.describe("while True: pass", timeout=0.3)


@pytest.mark.parametrize(
    "forged", ["[]", "{}", '{"class_name": 1, "name": "a", "description": "b", "args_schema": {}}', "NaN"]
)
def test_a_forged_description_is_rejected(forged):
    top = f"""
        import struct
        said = {forged!r}.encode()
        for fd in range(3, 256):
            try: os.write(fd, struct.pack(">cQ", b"=", len(said)) + said)
            except OSError: pass
        os._exit(0)
    """
    with pytest.raises(ToolRejected):
        sandbox.describe(f"import os\n{textwrap.dedent(top)}")


# What the layers refuse is named


with_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")


@with_landlock
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("open('/proc/cpuinfo')", "/proc/cpuinfo is closed to uploaded tools .by Landlock"),
        ("open('/tmp/left', 'w')", "/tmp/left is closed to uploaded tools .by Landlock.* TMPDIR"),
        ("import multiprocessing; multiprocessing.Lock()", "Shared memory, /dev/shm, is closed .* Landlock"),
        (
            "try: open('/proc/cpuinfo')\nexcept OSError as e: raise LookupError('no') from e",
            "LookupError: no /proc/cpu",
        ),
        ("os.chmod('.', 0o500)\nopen('own', 'w')", "Permission denied: 'own'$"),
    ],
)
def test_a_failure_names_the_layer_that_it_comes_of(lines: str, said: str) -> None:
    assert re.search(said, failure(tool(lines)))


@with_landlock
def test_a_file_that_is_loaded_learns_it_too() -> None:
    with pytest.raises(ToolRejected, match=r"PermissionError in line 1.*/proc/stat is closed .* Landlock"):
        sandbox.describe("open('/proc/stat')")


@with_landlock
def test_what_stays_closed_is_left_out_of_what_can_be_read(tmp_path: Path) -> None:
    for name in ("closed/in", "open/in", "beside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "to_closed").symlink_to(tmp_path / "closed")
    parts = list(paths._without(str(tmp_path), [str(tmp_path / "closed")]))
    assert sorted(Path(part).name for part in parts) == ["beside", "open"]
    assert list(paths._without(str(tmp_path / "closed/in"), [str(tmp_path / "closed")])) == [
        str(tmp_path / "closed/in")
    ]
