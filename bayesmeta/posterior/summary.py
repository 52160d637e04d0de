"""A table of theta and phi, an entry a row: as ArviZ's, of the ArviZ that is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmeta.draws.draws import Draws
from bayesmeta.engine.mixing import ess_bulk, ess_tail, mcse_mean, mcse_sd, rhat
from bayesmeta.posterior.arviz import flattened, to_datatree, with_computed
from bayesmeta.task_level.importance import classic

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_INTERVAL = 0.94
_KINDS = ("all", "stats", "diagnostics")
_DECIMALS = {"ess_bulk": 0, "ess_tail": 0, "r_hat": 2}
# What the table of ArviZ 1.x asks for by name, which its own functions find entry by entry.
_AT_ONCE: dict[tuple[str, str], Callable[[np.ndarray], np.ndarray]] = {
    ("ess", "bulk"): ess_bulk,
    ("ess", "tail"): ess_tail,
    ("mcse", "mean"): mcse_mean,
    ("mcse", "sd"): mcse_sd,
}


def summary(posterior: Draws, kind: str = "all") -> pd.DataFrame:
    """ArviZ's table of theta and phi; see `Posterior.summary`.

    Raises:
        ValueError: where there is no such kind of table.
    """
    import pandas as pd

    if kind not in _KINDS:
        raise ValueError(f"summary got kind={kind!r}; give one of {', '.join(_KINDS)}")
    dataset = with_computed(posterior)
    # A theta that is the same in all draws has no variance to be divided by.
    with np.errstate(invalid="ignore"):
        if dataset.sizes["chain"] * dataset.sizes["draw"] == 1:
            labels, draws = flattened(dataset)
            return pd.DataFrame({"mean": draws[0, 0]}, index=labels)
        return _of_arviz_1(dataset, kind) if classic() is None else _of_arviz_0(dataset, kind)


def _of_arviz_0(dataset: xr.Dataset, kind: str) -> pd.DataFrame:
    """The columns and decimals of ArviZ 0.23, with an equal-tailed interval, which it has not."""
    import pandas as pd

    labels, draws = flattened(dataset)
    draws = draws.astype(float)
    columns: dict[str, np.ndarray] = {}
    if kind != "diagnostics":
        tail = (1 - _INTERVAL) / 2
        columns |= {"mean": draws.mean((0, 1)), "sd": draws.std((0, 1), ddof=1)}
        for p in (tail, 1 - tail):
            columns[f"eti_{100 * p:.0f}%"] = np.quantile(draws, p, axis=(0, 1))
    if kind != "stats":
        columns |= {"mcse_mean": mcse_mean(draws), "mcse_sd": mcse_sd(draws)}
        columns |= {"ess_bulk": ess_bulk(draws), "ess_tail": ess_tail(draws), "r_hat": rhat(draws)}
    return pd.DataFrame(columns, index=labels).round({n: _DECIMALS.get(n, 3) for n in columns})


def _of_arviz_1(dataset: xr.Dataset, kind: str) -> pd.DataFrame:
    import arviz_base
    import arviz_stats

    tree = to_datatree({"posterior": dataset})
    with arviz_base.rc_context({"stats.module": _engine()}):
        return arviz_stats.summary(tree, kind=kind, ci_kind="eti", ci_prob=_INTERVAL)


@lru_cache(maxsize=1)
def _engine() -> Any:
    """The functions of ArviZ 1.x, with those of all entries at once among them."""
    from arviz_stats.base import array_stats
    from arviz_stats.base.dataarray import BaseDataArray

    class AtOnce(BaseDataArray):
        def ess(
            self, da: Any, sample_dims: Any, method: str, relative: bool, prob: Any
        ) -> xr.DataArray:
            return _reduced(da, _AT_ONCE["ess", method])

        def rhat(self, da: Any, sample_dims: Any, method: str) -> xr.DataArray:
            return _reduced(da, rhat)

        def mcse(self, da: Any, sample_dims: Any, method: str, prob: Any) -> xr.DataArray:
            return _reduced(da, _AT_ONCE["mcse", method])

    return AtOnce(array_class=array_stats)


def _reduced(draws: xr.DataArray, figure: Callable[[np.ndarray], np.ndarray]) -> xr.DataArray:
    """A figure of each entry of (chain, draw, ...), under the names of the entries' dims."""
    import xarray as xr

    found = figure(draws.values.reshape(*draws.shape[:2], -1).astype(float))
    kept = {name: at for name, at in draws.coords.items() if not {"chain", "draw"} & {*at.dims}}
    return xr.DataArray(found.reshape(draws.shape[2:]), kept, draws.dims[2:])
