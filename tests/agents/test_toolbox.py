"""What an upload writes, and that a refused one writes nothing."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from agents.catalog import agents as agent_catalog
from agents.catalog import names
from agents.catalog import tools as tool_catalog
from agents.models import Tool, ToolVersion

GREETING = (Path(__file__).resolve().parents[1] / "tools" / "greeting.py").read_bytes()


def upload(source: bytes = GREETING, **changes: Any) -> Tool:
    form = {"name": None, "framework": "langchain", "version": "1.0", "description": None, "tags": []}
    return tool_catalog.upload(source=source, file_name="greeting.py", **form | changes)


def nothing_is_written() -> bool:
    return written() == (0, 0)


def written() -> tuple[int, int]:
    """How many tools and versions there are, beside what comes with the server."""
    native = Tool.objects.filter(is_native=True)
    versions = ToolVersion.objects.exclude(pk__in=native.values("current"))
    return Tool.objects.filter(is_native=False).count(), versions.count()


@pytest.mark.django_db
def test_it_writes_the_tool_and_its_first_version():
    tool = Tool.objects.select_related("current").get(pk=upload(name="hello", version="2.1", tags=["a", "b"]).pk)
    assert (tool.name, tool.version, tool.tags, tool.description) == ("hello", "2.1", ["a", "b"], "Greets a person.")
    version = tool.current
    assert (version.tool_name, version.class_name, version.file_name) == ("greet", "GreetingTool", "greeting.py")
    assert version.source.encode() == GREETING
    assert version.digest == hashlib.sha256(GREETING).hexdigest()
    assert version.args_schema["required"] == ["name"]


@pytest.mark.django_db
@pytest.mark.parametrize("name", [None, "", "  "])
def test_the_name_is_the_classs_own_where_none_is_given(name):
    assert upload(name=name).name == "greet"


@pytest.mark.django_db
def test_a_description_of_the_uploader_is_kept_beside_the_classs():
    tool = upload(description="For the lobby.")
    assert (tool.description, tool.current.description) == ("For the lobby.", "Greets a person.")


@pytest.mark.django_db
def test_it_refuses_a_name_that_is_taken():
    upload(name="hello")
    with pytest.raises(tool_catalog.NameTaken, match="'hello' exists already"):
        upload(name="hello")
    assert written() == (1, 1)


@pytest.mark.django_db
def test_the_name_of_a_deleted_tool_is_free_again():
    Tool.objects.filter(pk=upload().pk).update(deleted_at=Now())
    assert upload().name == "greet"


@pytest.mark.django_db(transaction=True)
def test_of_two_uploads_at_once_one_wins():
    def attempt(_: int) -> str:
        try:
            return upload(name="hello").name
        except tool_catalog.NameTaken:
            return "taken"
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(attempt, range(6))) == ["hello", *["taken"] * 5]
    assert written() == (1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"x = 1\ny = '\xff'", "not UTF-8, line 2"),
        (b"x = 1\ny = '\0'", "NUL byte in line 2"),
        (b"#" * (tool_catalog.MAX_SOURCE_BYTES + 1), "has 1,000,001 bytes; 1,000,000 are allowed"),
        (b"class X(", "not valid Python"),
        (b"", "has no tool class"),
    ],
)
def test_a_file_that_cannot_become_a_tool_leaves_nothing_behind(source, said):
    with pytest.raises(tool_catalog.InvalidTool, match=said):
        upload(source)
    assert nothing_is_written()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": "x" * 256}, "name is longer than 255 characters"),
        ({"version": "1" * 51}, "version is longer than 50"),
        ({"description": "nul \0"}, "description must not hold NUL"),
        ({"tags": ["fine", "half \ud800"]}, "tags must not hold NUL or unpaired surrogates"),
    ],
)
def test_it_says_what_does_not_fit_in_the_form(form, said):
    with pytest.raises(tool_catalog.InvalidTool, match=re.escape(said)):
        upload(**form)
    assert nothing_is_written()


@pytest.mark.django_db(transaction=True)
def test_of_two_tools_of_one_agent_that_take_one_name_at_once_one_wins():
    tools = [upload(GREETING.replace(b'"greet"', name)) for name in (b'"one"', b'"two"')]
    agent = agent_catalog.create(name="agent", tools=tools)

    def attempt(tool: Tool) -> str:
        try:
            return tool_catalog.upload_again(str(tool.pk), source=GREETING, file_name="new.py").current.tool_name
        except names.NamesClash:
            return "clash"
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, tools)) == ["clash", "greet"]
    called = {tool.current.tool_name for tool in names.tools_of(agent)}
    assert "greet" in called
    assert len(called) == 2
