"""In which way places of the truth among draws are not uniform, in words."""

from __future__ import annotations

import numpy as np

# In standard errors, by which a direction shows.
_CLEAR = 2.5
# The share of either tail.
_TAIL = 0.05
# As near as a place is looked at to an end.
_END = 1e-4


def direction(place: np.ndarray, *, is_fit: bool = False) -> str:
    """What is wrong with posteriors of which places (simulations,) of the truth are not uniform.

    Their mean tells of bias, and the variance of their normal scores of width: 1 / s^2 of a normal
    posterior s times as wide as the right one, also beside a bias. Where there is none, the shares
    outside of central intervals of 50% and 90% tell of it too, and that of a single tail of 5%:
    a posterior of the right variance is too narrow where its tails are. Each counts from 2.5
    standard errors on.

    Args:
        place: in 0..1; that they are not uniform was found before.
        is_fit: whether they are of the log likelihood, where a shift is no bias of a number.
    """
    from scipy import stats

    shift = float(place.mean() - 0.5) * float(np.sqrt(12 * len(place)))
    scores = stats.norm.ppf(place.clip(_END, 1 - _END))
    spread = float(scores.var() - 1) * float(np.sqrt(len(place) / 2))
    if abs(shift) <= _CLEAR:
        return _width(place, spread) or "of another shape"
    found = f"biased {'down' if shift > 0 else 'up'}"
    if is_fit:
        found = f"draws explain the data {'worse' if shift > 0 else 'better'} than the truth does"
    return f"{found} and {_sign(spread)}" if abs(spread) > _CLEAR else found


def _width(place: np.ndarray, spread: float) -> str:
    """Too narrow or too wide, or of tails; empty where nothing of these is clear."""
    off = np.abs(place - 0.5)
    inner, outer = (_excess(off >= level / 2, 1 - level) for level in (0.5, 1 - 2 * _TAIL))
    if min(abs(inner), abs(outer)) > _CLEAR and inner * outer < 0:
        return f"of tails that are too {'light' if outer > 0 else 'heavy'}"
    clearest = max(spread, inner, outer, key=abs)
    if abs(clearest) > _CLEAR:
        return _sign(clearest)
    low, high = _excess(place < _TAIL, _TAIL), _excess(place > 1 - _TAIL, _TAIL)
    if max(low, high) > _CLEAR:
        return f"too narrow {'below' if low > high else 'above'}"
    return ""


def _sign(more: float) -> str:
    return "too narrow" if more > 0 else "too wide"


def _excess(is_there: np.ndarray, chance: float) -> float:
    """How many standard errors more of them there are than by this chance."""
    error = np.sqrt(chance * (1 - chance) / len(is_there))
    return float(is_there.mean() - chance) / float(error)
