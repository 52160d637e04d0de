"""temporary"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Draws:
    q: np.ndarray
    stats: dict


def sample(
    density, dim, *, chains, tune, draws, target_accept, max_depth, cores, seed, start, progress
):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    m = from_pyfunc(
        dim,
        lambda: density,
        lambda a, b, c: lambda x: {"q": x},
        [np.dtype("float64")],
        [(dim,)],
        ["q"],
        make_initial_point_fn=start,
    )
    tr = nutpie.sample(
        m,
        chains=chains,
        tune=tune,
        draws=draws,
        seed=seed,
        cores=cores,
        progress_bar=progress,
        target_accept=target_accept,
        maxdepth=max_depth,
    )
    return Draws(
        tr.posterior["q"].values,
        {k: tr.sample_stats[k].values for k in ("diverging", "energy", "logp")},
    )
