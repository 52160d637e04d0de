"""A formula taken apart: the outcome, what all groups share, and what varies by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from bayesmeta.formula.errors import FormulaError

_BY_HAND = "write it by hand, starting from the source of a simpler formula: print(f.source)"


@dataclass(frozen=True)
class Bar:
    """What stands in one pair of brackets with a bar, (effects | factor).

    Attributes:
        effects: the left side, as formulae reads it: "1 + x".
        factor: the columns that together say which group a row belongs to.
        correlated: whether the effects of a group may be correlated, as "|" says and "||" denies.
    """

    effects: str
    factor: tuple[str, ...]
    correlated: bool = True


@dataclass(frozen=True)
class Parts:
    """A formula's parts: y ~ common + (effects | factor) + ...

    Attributes:
        text: the formula as given.
        outcome: its left side.
        common: the right side without brackets that hold a bar.
        bars: these, in order, `a/b` taken apart into a and a:b.
    """

    text: str
    outcome: str
    common: str
    bars: tuple[Bar, ...]


def installed() -> ModuleType:
    """The package formulae.

    Raises:
        ImportError: where it is not installed, with the command that does so.
    """
    try:
        import formulae
    except ImportError as error:
        raise ImportError(
            "bm.formula reads formulas by the package formulae, which is not installed; install "
            "it by pip install 'bayesmeta[formula]', or write the model in Pyro"
        ) from error
    return formulae


def parse(text: str) -> Parts:
    """The parts of a formula such as "y ~ x + (1 + x | county) + (1 | county:floor)".

    Raises:
        TypeError: for what is no string.
        FormulaError: for a formula without outcome or without groups, and a bar that stands
            elsewhere than in brackets of its own.
        ImportError: as `installed`.
    """
    if not isinstance(text, str):
        raise TypeError(f"formula got a {type(text).__name__}; give a string, as 'y ~ x + (1 | g)'")
    tokens = _tokens(text)
    tildes = [at for at, token in enumerate(tokens) if token.kind == "TILDE"]
    if len(tildes) != 1 or tildes[0] == 0:
        raise FormulaError(
            f"the formula '{text}' has {len(tildes)} '~' with an outcome before it; give one, as "
            "'y ~ x + (1 | g)'"
        )
    outcome, right = tokens[: tildes[0]], tokens[tildes[0] + 1 :]
    pieces = list(_pieces(right, text))
    bars = tuple(bar for piece in pieces if _has_bar(piece) for bar in _bars(piece, text))
    common = [piece for piece in pieces if not _has_bar(piece)]
    if not bars:
        raise FormulaError(
            f"the formula '{text}' has no grouping factor, but a model here has tasks; say which "
            "column tells them apart, as by '+ (1 | county)'; with one dataset alone there is "
            "nothing to share, and Bambi or statsmodels fit it"
        )
    joined = " ".join(_text(piece) for piece in common).removeprefix("+").strip()
    joined = f"1 {joined}" if joined.startswith("-") else joined
    return Parts(text, _text(outcome), joined or "1", bars)


def _tokens(text: str) -> list[Any]:
    installed()
    from formulae.scanner import ScanError, Scanner

    try:
        return [token for token in Scanner(text).scan(False) if token.kind != "EOF"]
    except ScanError as error:
        raise FormulaError(
            f"the formula '{text}' cannot be read ({error}); give one as 'y ~ x + (1 | g)', with "
            "names that are no Python names in backquotes: `log radon`"
        ) from error


def _text(tokens: Sequence[Any]) -> str:
    return " ".join(token.lexeme for token in tokens)


def _pieces(tokens: Sequence[Any], text: str) -> Iterator[list[Any]]:
    """The summands at the outermost level, each with its sign where it has one."""
    depth, piece = 0, list[Any]()
    for token in tokens:
        depth += (token.kind == "LEFT_PAREN") - (token.kind == "RIGHT_PAREN")
        if depth < 0:
            break
        if depth == 0 and token.kind in ("PLUS", "MINUS") and piece:
            yield piece
            piece = []
        piece.append(token)
    if depth:
        raise FormulaError(f"the brackets of '{text}' do not match; count '(' and ')'")
    yield piece


def _has_bar(piece: Sequence[Any]) -> bool:
    return any(token.kind == "PIPE" for token in piece)


def _bars(piece: list[Any], text: str) -> Iterator[Bar]:
    """A summand (effects | factor), once for each factor that it names."""
    inner = piece[1:] if piece[0].kind == "PLUS" else piece
    kinds = [token.kind for token in inner]
    where = [at for at, kind in enumerate(kinds) if kind == "PIPE"]
    is_double = len(where) == 2 and where[1] == where[0] + 1
    closes = kinds[0] == "LEFT_PAREN" and _closing(kinds) == len(kinds) - 1
    if not closes or not (len(where) == 1 or is_double):
        raise FormulaError(
            f"'{_text(piece)}' in '{text}' has a bar outside of brackets of its own, or several; "
            "add what varies by group as '+ (1 + x | g)', or uncorrelated as '+ (1 + x || g)'"
        )
    effects = _text(inner[1 : where[0]])
    if not effects:
        raise FormulaError(f"'{_text(piece)}' says not what varies; give '(1 | g)' for the level")
    for factor in _factors(inner[where[-1] + 1 : -1], _text(piece)):
        yield Bar(effects, factor, correlated=not is_double)


def _closing(kinds: Sequence[str]) -> int:
    """Where the bracket that opens first is closed."""
    depth = 0
    for at, kind in enumerate(kinds):
        depth += (kind == "LEFT_PAREN") - (kind == "RIGHT_PAREN")
        if depth == 0:
            return at
    return -1


def _factors(tokens: Sequence[Any], piece: str) -> Iterator[tuple[str, ...]]:
    """The factors of "g", "g:h" (each combination), and "g/h", which is g and g:h."""
    names = [token.lexeme.strip("`") for token in tokens[::2]]
    signs = {token.kind for token in tokens[1::2]}
    are_names = all(token.kind in ("IDENTIFIER", "BQNAME") for token in tokens[::2])
    is_one = signs <= {"COLON"} or signs == {"SLASH"}
    if not names or not are_names or len(tokens) % 2 == 0 or not is_one:
        raise FormulaError(
            f"'{piece}' has after its bar what is no column, 'g:h' or 'g/h'; make a column of the "
            f"groups, or {_BY_HAND}"
        )
    if signs == {"SLASH"}:
        yield from (tuple(names[: n + 1]) for n in range(len(names)))
    else:
        yield tuple(names)
