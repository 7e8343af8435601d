"""Text in Markdown that shows as it stands: every value that a template or a table prints passes through here.

Names, notes, changes, provenance and reasons come from declarations and from results/; none of them may open HTML, a
link, a heading or a cell of its own. Code spans and emphasis stay: they can do no harm, and our own texts use them.
"""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

TAG = re.compile(r"<(?=[A-Za-z/!?])")  # what CommonMark reads as HTML, a comment or an autolink; not `p < 0.001`
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")  # lines, escapes, direction
LINK = re.compile(r"\](?!\([a-z0-9-]+\.md\))(?=[(\[:])")  # but to a page of the report
BLOCK = re.compile(r"^(\s*)(?=[#>+=|~-]|`{3}|\d+[.)]\s)")  # what begins a heading, list, quote, rule, fence or table


def text(value: Any) -> str:
    """A value within a line: HTML and links are shown, not used, and no line ends in it. Markdown that was made here
    (Markup) stays as it is."""
    if isinstance(value, Markup):
        return value
    line = CONTROL.sub(" ", str(value))
    return LINK.sub("]\\\\", TAG.sub("&lt;", line))


def paragraph(value: Any) -> str:
    """As `text`, for a value that begins a line: it is no heading, list or table either."""
    return BLOCK.sub(r"\1\\", text(value))


def cell(value: Any) -> str:
    """As `text`, within a table: a line end becomes a line break, and a bar is no border."""
    lines = "<br>".join(text(line) for line in str(value).split("\n"))
    return re.sub(r"(\\*)\|", r"\1\1\\|", lines)


def code(value: Any) -> Markup:
    """A code span, whatever is in it."""
    line = CONTROL.sub(" ", str(value))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Markup(f"{fence}{pad}{line}{pad}{fence}")


def unmarked(text: str) -> str:
    """A text of Markdown without its code marks."""
    return text.replace("`", "")
