"""Statements of Pyro as text: names that Python takes, quoted labels, lines of some length."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from keyword import iskeyword

from bayesmeta.formula.design import INTERCEPT, Effects
from bayesmeta.formula.families import OWN_SITES
from bayesmeta.formula.grouping import Factor

INDENT, WIDTH = "    ", 88


def wrapped(line: str) -> Iterator[str]:
    """A long statement on three lines, the middle one what its outermost brackets hold."""
    head, bracket, inner = line.partition("(")
    if len(line) <= WIDTH or line.lstrip().startswith("#") or not line.endswith(")"):
        yield line
        return
    blank = line[: len(line) - len(line.lstrip())]
    yield from (head + bracket, f"{blank}{INDENT}{inner[:-1]}", f"{blank})")


class Names:
    """Python names for the labels of a formula, each another."""

    def __init__(self) -> None:
        self._taken = {"pyro", "dist", "torch", "tasks", "model", "eta", "task"}
        self._taken |= {*OWN_SITES, "shares", "cutpoints", "centre", "intercept", "at_means"}
        self._of: dict[str, str] = {}

    def of(self, prefix: str, label: str) -> str:
        """The name of a label, the same at every call."""
        key = f"{prefix} {label}"
        if key not in self._of:
            stem = re.sub(r"[^0-9a-zA-Z]+", "_", key).strip("_").lower()
            stem = f"of_{stem}" if stem[:1].isdigit() or iskeyword(stem) else stem
            name, count = stem, 2
            while name in self._taken:
                name, count = f"{stem}_{count}", count + 1
            self._taken.add(name)
            self._of[key] = name
        return self._of[key]


def said(term: str, factor: Factor) -> str:
    """What a group has, in words: the factor alone stands for the level."""
    return factor.name if term == INTERCEPT else f"{factor.name} {term}"


def together(effects: Effects, factor: Factor) -> str:
    """Correlated effects in words; the level is not named, being there but in odd cases."""
    return " ".join([factor.name, *(t for t in effects.terms if t != INTERCEPT)])


def quoted(label: str) -> str:
    """A label as Python writes it."""
    return json.dumps(label)


def column(label: str) -> str:
    """A column of the tasks."""
    return f"tasks.x[{quoted(label)}]"


def sample(variable: str, site: str, fn: str) -> str:
    """A site that is drawn."""
    return f"{variable} = pyro.sample({quoted(site)}, {fn})"


def deterministic(variable: str, site: str, value: str) -> str:
    """A site that is computed."""
    return f"{variable} = pyro.deterministic({quoted(site)}, {value})"


def summed(variable: str, summands: Sequence[str]) -> Iterator[str]:
    """A sum, one summand a line."""
    if len(summands) < 2:
        yield f"{variable} = {summands[0] if summands else '0.0'}"
        return
    yield f"{variable} = ("
    yield from (f"{INDENT}{'+ ' if at else ''}{s}" for at, s in enumerate(summands))
    yield ")"
