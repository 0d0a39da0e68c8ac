"""What the server lets a tool have. Its settings are given to every helper that it starts."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`closed`: directories that no tool reads, wherever they lie. `readable` is what the helper makes of the rest."""

    closed: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Limits":
        return cls(**{name: tuple(each) if isinstance(each, list) else each for name, each in json.loads(text).items()})
