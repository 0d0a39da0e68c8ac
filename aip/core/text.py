"""Text that others wrote, shown to a person."""

import re
import unicodedata

# Characters that show nothing, or change how others show: controls, bidi marks, zero widths, fillers, tags.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    """`text` with every character that would deceive its reader spelled out, as in JSON."""
    return INVISIBLE.sub(_spelled, text.replace("\r\n", "\n"))


WORD = re.compile(r"[^\W\d_]{2,}")
# Scripts whose letters are taken for those of another one; Unicode's names of letters begin with the script.
ALIKE = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "COPTIC", "CHEROKEE", "LISU", "FULLWIDTH", "MATHEMATICAL"}
MOST_NAMED = 5


def look_alikes(*texts: str) -> list[str]:
    """The first words that mix letters of several scripts, such as "pаypal" with a Cyrillic letter."""  # noqa: RUF002
    found: dict[str, None] = {}
    for text in texts:
        for word in () if text.isascii() else WORD.finditer(text):
            if not word[0].isascii() and len(_scripts(word[0]) & ALIKE) > 1:
                found[word[0][:100]] = None
                if len(found) == MOST_NAMED:
                    return list(found)
    return list(found)


def _scripts(word: str) -> set[str]:
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in set(word)}
