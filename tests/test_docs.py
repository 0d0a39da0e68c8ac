"""What the README says is there, is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    source = (ROOT / "aip" / "settings.py").read_text()
    read = set(re.findall(r'\benv(?:_int|_list)?\(\s*"([A-Z_]+)"', source))
    table = README.split("## Settings")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)) == read


def test_every_picture_is_shown() -> None:
    assert [path.name for path in (ROOT / "docs").glob("*.png") if f"(docs/{path.name})" not in README] == []


def test_every_file_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`?((?:examples|docs)/[\w./-]+)", README)) | {"docker-compose.yml", "manage.py", ".ci/run"}
    assert [name for name in named if not (ROOT / name).exists()] == []
