"""Parts of an error line: the known name that was probably meant, a text cut short, an error in words."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_WITHIN = 4  # names that are suggested because the given one is a part of them
LONGEST = 80  # characters of a text that somebody else wrote


def shortened(text: str) -> str:
    """At most LONGEST characters of a text."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def did_you_mean(name: str, known: Iterable[str], *, most: int = 12) -> str:
    """`"; did you mean 'tiny'?"`, or several names that the given one is a part of, else the known names when they are
    at most so many, else the empty string."""
    names, name = sorted(known), name[:LONGEST]  # matching takes quadratic time
    if close := get_close_matches(name, names, n=1, cutoff=0.6):
        return f"; did you mean {close[0]!r}?"
    within = [one for one in names if len(name) > 2 and name in one]
    if 0 < len(within) <= MOST_WITHIN:
        return f"; did you mean {' or '.join(map(repr, within))}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= most else ""


def one_line(error: BaseException) -> str:
    """What went wrong, without line breaks; the type is named unless it is our own ValueError."""
    text = " ".join(str(error).split())
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"
