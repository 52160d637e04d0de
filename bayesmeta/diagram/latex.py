"""Names of sites and columns as LaTeX, whatever they are, for pdflatex and for matplotlib."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

# LaTeX of a character, upright, inside of \mathrm, or None where it cannot be set.
Alphabet = Callable[[str], str | None]

_SMALL = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi"),
    "omega",
)
_CAPITAL = (
    *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
)
_GREEK = dict(zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", (*_SMALL, *_CAPITAL), strict=True))

# One " is no two ', and angles are for code points.
_PLAIN = {"_": r"\_", " ": r"\ ", '"': r"{}^{\prime\prime}"}
_LATEX = {
    **{c: rf"\{c}" for c in "#$%&"},
    **{"\\": r"\textbackslash", "^": r"\textasciicircum", "~": r"\textasciitilde"},
    **{"{": r"\textbraceleft", "}": r"\textbraceright", "|": r"\textbar"},
    **{"<": r"\textless", ">": r"\textgreater", "ß": r"\ss", "ø": r"\o", "Ø": r"\O"},
    **{"æ": r"\ae", "Æ": r"\AE", "œ": r"\oe", "Œ": r"\OE", "ł": r"\l", "Ł": r"\L"},
}
_ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u0304\u0306\u0307\u030a\u030b\u030c\u0327"
_ACCENT = dict(zip(_ACCENTS, "`'^~\"=u.rHvc", strict=True))
_MATHTEXT = {"\\": r"\backslash ", "{": r"\{", "}": r"\}", "$": r"\text{\$}"}
_SYMBOLS = frozenset(_GREEK.values())
_BASE = rf"([A-Za-z]+|[{''.join(_GREEK)}])"


def in_latex(char: str) -> str | None:
    """As pdflatex sets it in its own fonts, without packages."""
    if (plain := _plain(char)) is not None:
        return plain
    if char in _LATEX or _is_printable(char):
        return rf"\textrm{{{_LATEX.get(char, char)}}}"
    letter, accent = (*unicodedata.normalize("NFD", char), "", "")[:2]
    is_whole = unicodedata.normalize("NFC", letter + accent) == char
    if is_whole and letter.isascii() and accent in _ACCENT:
        return rf"\textrm{{\{_ACCENT[accent]}{{{letter}}}}}"
    return None


def in_mathtext(char: str) -> str | None:
    """As mathtext sets it in Computer Modern, or else in STIX, both of which matplotlib brings."""
    if (plain := _plain(char)) is not None:
        return plain
    if char in _MATHTEXT:
        return _MATHTEXT[char]
    return rf"\text{{{char}}}" if _is_printable(char) or _is_in_stix(char) else None


def _plain(char: str) -> str | None:
    """What both set alike."""
    if char in _GREEK:
        return rf"{{\{_GREEK[char]}}}"
    return char if char.isascii() and char.isalnum() else _PLAIN.get(char)


def _is_printable(char: str) -> bool:
    return char.isascii() and char.isprintable()


@cache
def _is_in_stix(char: str) -> bool:
    """Whether it is a character of its own that the fonts have, and have in its place."""
    import matplotlib
    from matplotlib.font_manager import get_font

    is_own = unicodedata.category(char)[0] in "LNPS" and unicodedata.normalize("NFKC", char) == char
    if not is_own or char in "⟨⟩":
        return False
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    # In cmr10 other letters are in the places from 160 to 196.
    modern, stix = (get_font(fonts / f"{name}.ttf") for name in ("cmr10", "STIXGeneral"))
    return not modern.get_char_index(ord(char)) and bool(stix.get_char_index(ord(char)))


def symbol(
    name: str, indices: Sequence[str] = (), part: str = "", alphabet: Alphabet = in_latex
) -> str:
    r"""A name as mathematics, with its indices below and the part of the data above.

    "tau_alpha" is \tau_{\alpha}, "gamma0" is \gamma_{0}, "phi" of task i is \phi_{i}; a word stays
    a word. Names that differ may look alike, as "gamma0" and "gamma_0" do.
    """
    found = re.fullmatch(rf"{_BASE}([0-9]*)", name) or re.fullmatch(rf"{_BASE}_(\w+)", name)
    base, below = (found[1], found[2]) if found else (name, "")
    if not _is_symbol(base):
        base, below = name, ""
    subscripts = [_word(below, alphabet)] if below else []
    if indices:
        subscripts.append("".join(indices))
    above = rf"^{{\mathrm{{{part}}}}}" if part else ""
    return _word(base, alphabet) + above + (f"_{{{','.join(subscripts)}}}" if subscripts else "")


def words(name: str, alphabet: Alphabet = in_latex) -> str:
    """A name in upright letters, its own: no other name looks alike.

    What the alphabet lacks is written as code points in angles, as are spaces at an end or side by
    side; nothing between angles is the empty name.
    """
    is_odd = "" in name.split(" ")
    letters = [(c, None if c == " " and is_odd else alphabet(c)) for c in name]
    pieces = []
    for is_set, run in groupby(letters, key=lambda letter: letter[1] is not None):
        if is_set:
            pieces += [latex or "" for _, latex in run]
            continue
        code = "U+" + " ".join(f"{ord(c):04X}" for c, _ in run)
        pieces.append(_angles("".join(alphabet(c) or "" for c in code)))
    return rf"\mathrm{{{''.join(pieces) or _angles('')}}}"


def spelled(name: str, indices: Sequence[str] = (), alphabet: Alphabet = in_latex) -> str:
    """A name letter by letter, in ASCII, with its indices below."""
    base = words(name, lambda c: alphabet(c) if c.isascii() else None)
    return base + (f"_{{{''.join(indices)}}}" if indices else "")


def _angles(inside: str) -> str:
    return rf"\langle {inside}\rangle "


def _is_symbol(word: str) -> bool:
    return word in _SYMBOLS or word in _GREEK or len(word) == 1


def _word(word: str, alphabet: Alphabet) -> str:
    if word in _SYMBOLS or word in _GREEK:
        return rf"\{_GREEK.get(word, word)}"
    is_plain = word.isascii() and (word.isdigit() or (len(word) == 1 and word.isalpha()))
    return word if is_plain else words(word, alphabet)
