"""The parts of networks by name: carried from one to another, and stored beside weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bayesmeta.nets.calls import Call

_PREFIX, _OUTPUT = "net_", "[output]"
# Of an output, in its size, what devices and versions may differ by.
_NEAR = 1e-3


def differing(mine: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[str]:
    """Names of constants that are not the same numbers in both."""
    return [name for name in sorted({*mine, *others}) if not _alike(name, mine, others)]


def carried(
    mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], fresh: str | None
) -> dict[str, Tensor]:
    """The other's parameters and buffers that this network has, less those of a new layer.

    Args:
        mine: all of this network's by name.
        theirs: the other's.
        fresh: the layer that is another here, or None.

    Raises:
        ValueError: where there is no such layer, or a part outside of it has no counterpart.
    """
    inside = {n for n in mine if n == fresh or n.startswith(f"{fresh}.")}
    if fresh is not None and not inside:
        raise ValueError(f"fresh='{fresh}' is no layer; parameters are {list(mine)}")
    found = {}
    for name, own in mine.items():
        if name in inside:
            continue
        other = theirs.get(name)
        if other is None or other.shape != own.shape:
            raise ValueError(
                f"'{name}' has shape {tuple(own.shape)} here, and in the other network "
                f"{'none' if other is None else tuple(other.shape)}; name the layer that is "
                "another, as fresh='3'"
            )
        found[name] = other
    return found


def stored(called: Sequence[Call]) -> dict[str, Tensor]:
    """Of the networks that a model called, by their number: constants, and an output to know it by.

    The output is at known weights and data, so that another network is told from it.
    """
    found: dict[str, Tensor] = {}
    for k, call in enumerate(_each(called)):
        output = call.net.output_for(call)
        mine = {**call.net.constants, **({} if output is None else {_OUTPUT: output})}
        found |= {f"{_PREFIX}{k}_{name}": x for name, x in mine.items()}
    return found


def restore(called: Sequence[Call], tensors: Mapping[str, Tensor]) -> str | None:
    """Give networks the constants that were stored of them.

    Networks that were called before have results that rest on their own, and are left alone.

    Returns:
        What another network has, or other constants than those stored; None for nothing.
    """
    if not any(name.startswith(_PREFIX) for name in tensors):
        return None
    for k, call in enumerate(_each(called)):
        prefix = f"{_PREFIX}{k}_"
        found = {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
        output, mine = found.pop(_OUTPUT, None), call.net.constants
        changed = differing(mine, found)
        fits = {n: x.shape for n, x in mine.items()} == {n: x.shape for n, x in found.items()}
        if changed and not (fits and call.is_first):
            return f"'{changed[0]}'"
        call.net.hold(found)
        if output is not None and not _is_near(call.net.output_for(call), output):
            return "output at the same weights"
    return None


def _is_near(one: Tensor | None, other: Tensor) -> bool:
    if one is None or one.shape != other.shape:
        return False
    size = float(other.nan_to_num().abs().max())
    return torch.allclose(one.cpu(), other.to(one), rtol=0, atol=_NEAR * size, equal_nan=True)


def _each(called: Sequence[Call]) -> list[Call]:
    """The first call of each network."""
    return list({id(call.net): call for call in reversed(called)}.values())[::-1]


def _alike(name: str, mine: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    if name not in mine or name not in others or mine[name].shape != others[name].shape:
        return False
    return torch.equal(mine[name].cpu(), others[name].to(mine[name].dtype).cpu())
