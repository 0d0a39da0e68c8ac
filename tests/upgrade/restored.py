"""The dump in the database of a server that has not started yet, and what stands in a database."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from aip.launcher import embedded
from tests.upgrade.make_dump import LISTENER, program

DUMP = Path(__file__).with_name("before_rooms.dump")
MESSAGE = DUMP.with_suffix(".message.json")
# A module of ours, as pickles, constructors in checkpoints and names of tasks spell it.
OUR_MODULE = re.compile(r"(?<!\.)(?:agents|aip|hitl)\.[a-z_]\w*", re.ASCII)

Row = dict[str, Any]

RUNS = """
SELECT r.id::text, r.agent_id::text, r.input, r.status,
    (SELECT count(*) FROM agents_runevent e WHERE e.run_id = r.id) AS events
FROM agents_run r
"""
REQUESTS = """
SELECT q.id::text, r.input, q.tool_name, q.round, q.status, q.execution, q.arguments, q.seal,
    d.decision, d.arguments AS edited, d.answer, d.operator_input, d.seal AS approved_seal
FROM hitl_approvalrequest q JOIN agents_run r ON r.id = q.run_id LEFT JOIN hitl_decision d ON d.request_id = q.id
"""
PERMISSIONS = """
SELECT p.id, c.app_label, c.model, p.codename
FROM auth_permission p JOIN django_content_type c ON c.id = p.content_type_id
"""
CHECKPOINTS = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


@dataclass(frozen=True)
class Snapshot:
    """What stands in a database: its runs by their input, its approval requests by their id."""

    runs: dict[str, Row]
    requests: dict[str, Row]
    # Permissions with their ids, by which users and groups have them.
    permissions: set[tuple[Any, ...]]
    # Where a module of ours is named, and how many of the rows in which it was looked for are LangGraph's.
    modules: list[str]
    checkpoints: int


def look(data_dir: Path) -> Snapshot:
    with psycopg.connect(embedded.database_url(data_dir), row_factory=dict_row) as database:

        def rows(sql: str) -> list[Row]:
            return database.execute(sql).fetchall()

        tables = rows("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'")
        content = {table["name"]: rows(f"SELECT * FROM {table['name']}") for table in tables}
        return Snapshot(
            runs={run["input"]: run for run in rows(RUNS)},
            requests={request["id"]: request for request in rows(REQUESTS)},
            permissions={tuple(permission.values()) for permission in rows(PERMISSIONS)},
            modules=[f"{table}: {found}" for table in content for row in content[table] for found in modules(row)],
            checkpoints=sum(len(content[table]) for table in CHECKPOINTS),
        )


def modules(row: Row) -> list[str]:
    """What names a module of ours in a row."""
    return [f"{column}: {found}" for column, value in row.items() for found in OUR_MODULE.findall(text_of(value))]


def text_of(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else json.dumps(value, default=str)


def restore(data_dir: Path, listener: str) -> Snapshot:
    """Put the dump into the server's own database, as if it had been made just now; what stands in it."""
    with embedded.running(data_dir):
        url = embedded.database_url(data_dir)
        options = ["--exit-on-error", "--no-owner", "--no-privileges", "--single-transaction"]
        subprocess.run([program("pg_restore"), *options, f"--dbname={url}", DUMP], check=True, timeout=60)
        with psycopg.connect(url) as database:
            move_to_now(database)
            point_to(database, listener)
        return look(data_dir)


def move_to_now(database: psycopg.Connection[Any]) -> None:
    """Move all moments by the age of the dump: its deadlines are as far away as they were, whenever this runs."""
    (age,) = database.execute("SELECT extract(epoch FROM now() - max(updated_at)) FROM agents_run").fetchone() or (0,)
    columns = database.execute(
        "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' GROUP BY table_name"
    )
    for table, names in columns.fetchall():
        moved = ", ".join(f"{name} = {name} + make_interval(secs => {age})" for name in names)
        database.execute(f"UPDATE {table} SET {moved}")


def point_to(database: psycopg.Connection[Any], listener: str) -> None:
    """Let the tools of the runs report to this listener. No seal covers where: it is a setting of the tool."""
    database.execute("UPDATE agents_run SET spec = replace(spec::text, %s, %s)::jsonb", [LISTENER, listener])
