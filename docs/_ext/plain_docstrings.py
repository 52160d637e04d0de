"""Docstrings in plain text as reStructuredText, before napoleon reads their sections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Attributes|Raises):$")
_CODE = re.compile(r"(``.+?``|`[^`]+`)")


def as_rst(lines: list[str]) -> list[str]:
    """The same text: indented blocks are literal, `code` is code, and nothing else is markup."""
    out: list[str] = []
    is_section = is_block = False
    lines = _with_returns_as_prose(lines)
    for k, line in enumerate(lines):
        is_indented = line.startswith("    ")
        if line and not is_indented:
            is_section, is_block = bool(SECTION.match(line)), False
        elif is_indented and not is_section and not is_block and k and not lines[k - 1].strip():
            out += ["::", ""]
            is_block = True
        out.append(line if is_block else escaped(line))
    return out


def _with_returns_as_prose(lines: list[str]) -> list[str]:
    """What is under "Returns:" begins with no type, as napoleon takes it to."""
    out, is_inside = [], False
    for line in lines:
        if line and not line.startswith(" "):
            is_inside = line == "Returns:"
        out.append(line.removeprefix("    ") if is_inside else line)
        if line == "Returns:":
            out.append("")
    return out


def escaped(line: str) -> str:
    """A line of prose, in which `code` is code; it may be open at the line's end."""
    parts = _CODE.split(line)
    return "".join(
        f"``{part.strip('`')}``" if k % 2 else _escaped_prose(part) for k, part in enumerate(parts)
    )


def _escaped_prose(text: str) -> str:
    return re.sub(r"([\\*|`]|(?<=\w)_(?!\w))", r"\\\1", text)


def _process(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    # Of a property's first line napoleon would take what is before a colon for its type.
    first = [""] if what in ("property", "attribute") else []
    lines[:] = [*first, *as_rst(lines)] if _is_ours(obj) else []


def _is_ours(obj: object) -> bool:
    """Whether a docstring is of this package, and not inherited from another one."""
    module = getattr(obj, "__module__", None) or getattr(obj, "__name__", "bayesmeta")
    return module.startswith("bayesmeta")


def setup(app: Sphinx) -> dict[str, bool]:
    """Before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True}
