"""nutpie's NUTS on a log density, compiled (by C pointer) or any Python function."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from bayesmeta.engine.native import NativeDensity
from bayesmeta.engine.nutpie_pointer import EntryChangedError, by_pointer

LogDensity = Callable[[np.ndarray], tuple[float, np.ndarray]]
# nutpie's names of what it tells of a draw, and ArviZ's.
_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "logp": "lp",
    "depth": "tree_depth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "mean_tree_accept": "acceptance_rate",
}


@dataclass(frozen=True)
class Chains:
    """Draws q (chain, draw, dim) after warm-up, and statistics by ArviZ's names, (chain, draw)."""

    q: np.ndarray
    stats: dict[str, np.ndarray]


def sample(
    density: LogDensity | NativeDensity,
    dim: int,
    *,
    chains: int,
    tune: int,
    draws: int,
    target_accept: float,
    max_depth: int,
    cores: int,
    seed: int,
    start: Callable[[int], np.ndarray],
    progress: bool,
    low_rank: bool = False,
) -> Chains:
    """Sample exp(density) with nutpie (mass matrix from draws and gradients).

    The same seed gives the same draws for any number of cores. An interrupt (Ctrl-C) keeps the
    draws that all chains have.

    Args:
        density: log density and gradient at q (dim,), up to a constant.
        dim: the length of q.
        chains, tune, draws: chains, and warm-up and kept draws of each.
        target_accept: mean acceptance rate to adapt the step size to.
        max_depth: trajectories have at most 2^max_depth steps.
        cores: chains at once. A Python density runs one at a time all the same.
        seed: of all chains.
        start: an initial point (dim,) for a seed.
        progress: whether to show nutpie's progress bar (draws, divergences, steps, time left).
        low_rank: whether the mass matrix is diagonal and of low rank, and not diagonal alone.

    Raises:
        RuntimeError: where no start has a finite density, or the density raises; with its error.
    """
    nutpie = import_nutpie()
    run = partial(
        nutpie.sample,
        **_low_rank(nutpie) if low_rank else {},
        chains=chains,
        tune=tune,
        draws=draws,
        seed=seed,
        cores=min(cores, chains),
        target_accept=target_accept,
        maxdepth=max_depth,
        progress_bar=progress,
        return_raw_trace=True,
    )
    failures: list[Exception] = []
    try:
        trace = _trace(run, dim, density, start, failures)
    except RuntimeError as error:
        raise _in_words(error, failures) from error
    return _read(trace, dim, draws)


def _low_rank(nutpie: ModuleType) -> dict[str, Any]:
    """The setting as nutpie 0.16.11 has it, or 0.16.8."""
    if "adaptation" in inspect.signature(nutpie.sample).parameters:
        return {"adaptation": "low_rank"}
    return {"low_rank_modified_mass_matrix": True}


def _trace(
    run: Callable[[Any], Any],
    dim: int,
    density: LogDensity | NativeDensity,
    start: Callable[[int], np.ndarray],
    failures: list[Exception],
) -> Any:
    """What nutpie makes of the density: by its pointer if it has one, or called from Python."""
    if isinstance(density, NativeDensity):
        try:
            return run(by_pointer(density, start))
        except EntryChangedError as error:
            warnings.warn(
                f"the compiled density is called through Python, one chain at a time, as this "
                f"nutpie takes no pointer in the way that is known here ({error}); for the quicker "
                "way install a version that it was tried with, pip install 'nutpie==0.16.11'",
                stacklevel=3,
            )
    return run(_by_callback(dim, density, start, failures))


def _in_words(error: RuntimeError, failures: list[Exception]) -> Exception:
    """What the density itself raised, or what may be at fault."""
    if failures:
        return failures[0]
    return RuntimeError(
        f"sampling could not go on: {error}. If no start point has a finite density, check "
        "that the priors and the likelihood allow the data at moderate values"
    )


def import_nutpie() -> ModuleType:
    """nutpie, without what it says on its way in."""
    with warnings.catch_warnings():
        # nutpie imports arviz, which announces its next version.
        warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing", category=FutureWarning)
        import nutpie
    return nutpie


def _by_callback(
    dim: int,
    density: LogDensity,
    start: Callable[[int], np.ndarray],
    failures: list[Exception],
) -> Any:
    from nutpie.compiled_pyfunc import from_pyfunc

    def watched(q: np.ndarray) -> tuple[float, np.ndarray]:
        try:
            return density(q)
        except Exception as error:
            failures.append(error)
            raise

    return from_pyfunc(
        dim,
        lambda: watched,
        lambda seed1, seed2, chain: lambda q: {"q": q},
        [np.dtype("float64")],
        [(dim,)],
        ["q"],
        make_initial_point_fn=start,
    )


def _read(trace: Any, dim: int, wanted: int) -> Chains:
    batches, stats = trace.get_arrow_trace()
    kept = [~np.asarray(_column(s, "tuning"), dtype=bool) for s in stats]
    shortest = min(int(k.sum()) for k in kept)
    if shortest == 0:
        raise KeyboardInterrupt("sampling was interrupted during warm-up, before any draw")
    if shortest < wanted:
        warnings.warn(
            f"sampling was interrupted: each chain keeps {shortest} of {wanted} draws",
            stacklevel=2,
        )
    q = [_column(b, "q").reshape(-1, dim)[k][:shortest] for b, k in zip(batches, kept, strict=True)]
    return Chains(
        np.stack(q),
        {
            ours: np.stack(
                [_column(s, theirs)[k][:shortest] for s, k in zip(stats, kept, strict=True)]
            )
            for theirs, ours in _STATS.items()
        },
    )


def _column(batch: Any, name: str) -> np.ndarray:
    import pyarrow

    column = pyarrow.array(batch.column(name))
    values = column.flatten() if hasattr(column, "flatten") else column
    result: np.ndarray = values.to_numpy(zero_copy_only=False)
    return result
