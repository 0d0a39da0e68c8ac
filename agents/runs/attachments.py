"""Files that come with a run, and what the model gets of them. The only writer of RunFile."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from agents.models import Run, RunFile
from aip.core.exceptions import Invalid, TooLarge

MAX_FILES = 10
MAX_FILE_BYTES = 4 * 1024**2
MAX_LABEL = 255  # characters of a name or of a content type
BACKTICKS = re.compile("`{3,}")


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file as a client sent it."""

    name: str
    content_type: str
    content: bytes

    @property
    def text(self) -> str | None:
        """Its text, if it is one that can be stored: UTF-8 without NUL."""
        try:
            text = self.content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None
        return None if "\0" in text else text


def check(files: Sequence[Attachment]) -> None:
    """Raises Invalid for too many, TooLarge for one that is too large."""
    if len(files) > MAX_FILES:
        raise Invalid({"files": f"There are {len(files)} files; at most {MAX_FILES} can come with a run."})
    for file in files:
        if len(file.content) > MAX_FILE_BYTES:
            raise TooLarge(
                f"files: {file.name[:MAX_LABEL]} is larger than {MAX_FILE_BYTES // 1024**2} MiB, "
                "which is the most that one file may have."
            )


def user_message(input: str, files: Sequence[Attachment]) -> str:
    """The user's message as the model gets it: the input, then each file."""
    return "\n\n".join([input, *(_quoted(file, number, len(files)) for number, file in enumerate(files, 1))])


def _quoted(file: Attachment, number: int, total: int) -> str:
    label = f"Attached file {number} of {total}, {json.dumps(file.name, ensure_ascii=False)}"
    text = file.text
    if text is None:
        kind = file.content_type or "unknown type"
        return f"{label}: not a text ({kind}, {len(file.content):,} bytes), so that you cannot read it."
    # Longer than any in the text, which therefore cannot end its own quotation.
    fence = "`" * (max((len(found) for found in BACKTICKS.findall(text)), default=2) + 1)
    return f"{label}:\n{fence}\n{text}\n{fence}"


def attach(run: Run, files: Sequence[Attachment]) -> None:
    """Keep the files of a run, within the transaction that starts it."""
    RunFile.objects.bulk_create(
        RunFile(
            run=run,
            position=position,
            name=file.name[:MAX_LABEL],
            content_type=file.content_type[:MAX_LABEL],
            size=len(file.content),
            is_text=file.text is not None,
            content=file.content,
        )
        for position, file in enumerate(files)
    )
