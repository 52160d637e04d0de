"""Numbers given as arguments: of the kind and range that are expected, or refused by name."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real

# torch takes no larger ones.
_MOST_SEED = 2**63 - 1


def check_whole(
    owner: object, name: str, value: object, *, least: int = 1, or_none: bool = False
) -> None:
    """Refuse what is no whole number of at least `least`.

    Args:
        owner: a strategy, or the name of a function.
        name: of the argument.
        value: what was given.
        least: the smallest that is taken.
        or_none: whether None is taken too.

    Raises:
        TypeError: for another kind, as 10.5, True or a tensor.
        ValueError: for a smaller number.
    """
    if value is None and or_none:
        return
    expected = f"give a whole number of at least {least}{', or None' if or_none else ''}"
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{_named(owner)} got {name}={value!r}; {expected}")
    if int(value) < least:
        raise ValueError(f"{_named(owner)} got {name}={value!r}; {expected}")


def check_wholes(owner: object, *names: str, least: int = 1) -> None:
    """`check_whole` of some attributes of the owner."""
    for name in names:
        check_whole(owner, name, getattr(owner, name), least=least)


def check_number(
    owner: object,
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> None:
    """Refuse what is no finite number between the bounds given.

    Args:
        owner, name, value: as of `check_whole`.
        above, least: the bound from below, itself excluded or taken.
        below, most: the bound from above.

    Raises:
        TypeError: for another kind, as "0.1", True or a tensor.
        ValueError: for a number outside, NaN or inf.
    """
    bounds = {"above": above, "at least": least, "below": below, "at most": most}
    limits = " and ".join(f"{word} {x:g}" for word, x in bounds.items() if x is not None)
    expected = f"{_named(owner)} got {name}={value!r}; give a finite number {limits}".rstrip()
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(expected)
    given = float(value)
    inside = (
        isfinite(given)
        and (above is None or given > above)
        and (least is None or given >= least)
        and (below is None or given < below)
        and (most is None or given <= most)
    )
    if not inside:
        raise ValueError(expected)


def check_seed(owner: object, value: object, *, or_none: bool = False) -> None:
    """Refuse what is no seed: a whole number from 0 to 2^63 - 1.

    Raises:
        TypeError, ValueError: as `check_whole`.
    """
    check_whole(owner, "seed", value, least=0, or_none=or_none)
    if isinstance(value, Integral) and int(value) > _MOST_SEED:
        raise ValueError(f"{_named(owner)} got seed={value!r}; give one of at most 2^63 - 1")


def _named(owner: object) -> str:
    return owner if isinstance(owner, str) else type(owner).__name__
