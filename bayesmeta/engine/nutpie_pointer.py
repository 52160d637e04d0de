"""nutpie's model of a C function: the one file that touches what is private in nutpie."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from bayesmeta.engine.native import NativeDensity


class EntryChangedError(Exception):
    """This nutpie has another private entry than is known here; the message names its version."""


def by_pointer(density: NativeDensity, start: Callable[[int], np.ndarray]) -> Any:
    """A model for `nutpie.sample` that calls a C function, as nutpie's own bridge to PyMC does.

    Tried with nutpie 0.16.8 to 0.16.11. There is no public way to hand over an address.

    Args:
        density: at the address of a C function.
        start: an initial point (dim,) for a seed.

    Raises:
        EntryChangedError: where nutpie's entry is another; here, or from `nutpie.sample`.
    """
    try:
        return _model(density, start)
    except (ImportError, AttributeError, TypeError) as error:
        raise EntryChangedError(f"nutpie {version('nutpie')}: {error}") from error


def _model(density: NativeDensity, start: Callable[[int], np.ndarray]) -> Any:
    from nutpie import _lib  # nutpie takes a second to import, and only NUTS needs it
    from nutpie.sample import CompiledModel

    dim = density.dim
    model = _lib.PyMcModel(
        _lib.LogpFunc(density.address, density.user_data, density),
        _lib.ExpandFunc(dim, dim, density.expand_address, density.user_data, density),
        _lib.PyVariable.new_variables(
            ["q"], ["float64"], [(dim,)], {"coordinate": dim}, {"q": ["coordinate"]}
        ),
        dim,
        {"coordinate": dim},
        {"coordinate": np.arange(dim)},
        start,
        lambda *args, **kwargs: None,
    )

    class PointerModel(CompiledModel):
        n_dim = dim
        shapes = property(lambda self: {"q": (dim,)})
        coords = property(lambda self: {})

        def _make_sampler(self, settings: Any, init_mean: Any, cores: int, *rest: Any) -> Any:
            # The rest, from progress to where draws are stored, is nutpie's own, and grows with it.
            try:
                return _lib.PySampler.from_pymc(settings, cores, model, *rest)
            except TypeError as error:
                raise EntryChangedError(f"nutpie {version('nutpie')}: {error}") from error

    return PointerModel(dims={"q": ("coordinate",)})
