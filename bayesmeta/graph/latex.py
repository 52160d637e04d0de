"""Names of sites and columns as LaTeX symbols."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SMALL = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi"),
    "omega",
)
_CAPITAL = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega")
_GREEK = frozenset((*_SMALL, *_CAPITAL))


def symbol(name: str, indices: Sequence[str] = (), part: str = "") -> str:
    r"""A name as mathematics, with its indices below and the part of the data above.

    "tau_alpha" is \tau_{\alpha}, "gamma0" is \gamma_{0}, "phi" of task i is \phi_{i}; a word stays
    a word.
    """
    found = re.fullmatch(r"([A-Za-z]+)(\d*)", name) or re.fullmatch(r"([A-Za-z]+)_(\w+)", name)
    base, below = (found[1], found[2]) if found else (name, "")
    if not _is_symbol(base):
        base, below = name, ""
    subscripts = [_word(below)] if below else []
    if indices:
        subscripts.append("".join(indices))
    above = rf"^{{\mathrm{{{part}}}}}" if part else ""
    return _word(base) + above + (f"_{{{','.join(subscripts)}}}" if subscripts else "")


def _is_symbol(word: str) -> bool:
    return word in _GREEK or len(word) == 1


def words(name: str) -> str:
    """A name in upright letters, with what LaTeX reads as more than a letter escaped."""
    plain = re.sub(r"[\\^{}~]", " ", name)
    spaced = re.sub(r"[_ ]+", r"\\ ", re.sub(r"([%#&$])", r"{\\\1}", plain))
    return rf"\mathrm{{{spaced}}}"


def _word(word: str) -> str:
    if word in _GREEK:
        return rf"\{word}"
    if (len(word) == 1 and word.isalpha()) or word.isdigit():
        return word
    return words(word)
