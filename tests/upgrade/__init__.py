"""An upgrade keeps what waits: a database of an earlier tree is migrated, and what stands in it is decided.

`before_rooms.dump` is that database, in PostgreSQL's custom format, and `before_rooms.message.json` a message that its
queue carried. `make_dump` made both with real runs on the last tree whose modules were not in rooms (commit f6b3077);
`STATES` there lists them.

A dump is never made again: it stands for servers that are out there. When a tree is about to change what is stored
(a migration, the spec of a run, the messages in its checkpoints), make one more of the tree before the change, under
another name, and let the tests run over both:

    cd <that tree> && uv run python <this tree>/tests/upgrade/make_dump.py <this tree>/tests/upgrade/<name>.dump
"""
