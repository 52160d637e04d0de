"""Amortised inference of radon's counties, checked against NUTS on the same model.

One network reads a county's houses and gives the posterior of its level and slope, for every county
and every theta; theta has a variational posterior, trained together with the network. That a county
is then inferred in one pass, is worth nothing where the pass is wrong, so that every county is
judged: by the Pareto k of its importance weights, and on the whole by `amortisation_gap`, which
compares the network, its refinement by some more variational steps, and the posterior itself.

`python examples/amortised_radon.py` takes about three minutes, and draws both posteriors of the
effects of four counties of different sizes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from figures.amortised import draw_counties

import bayesmeta as bm
from bayesmeta.models import radon


def main() -> None:
    """Fit both ways, compare, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figure goes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    counties = radon.tasks()
    adam = bm.Adam(lr=5e-3, steps=10 if args.smoke else 4000, patience=0, compile=False)
    theta = bm.Gaussian(particles=4, batch_size=17, adam=adam, draws=1000)
    began = time.perf_counter()
    amortised = bm.fit(radon.model, counties, theta=theta, phi=bm.Amortised(bound=bm.ELBO(2)))
    print(f"amortised variational inference: {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    nuts = bm.fit(radon.model, counties, theta=bm.NUTS(draws=50 if args.smoke else 1000))
    print(f"NUTS: {time.perf_counter() - began:.0f} s\n")

    refined = amortised.adapt(counties, refine=bm.Refine())
    print(*refined.notes)
    for name, post in (("network", amortised.adapt(counties)), ("refined", refined)):
        k = max(post.diagnose().pareto_k.values())
        for site in ("alpha", "beta"):
            found, truth = (p.phi[site].flatten(0, 1) for p in (post, nuts))
            error = ((found.mean(0) - truth.mean(0)) / truth.std(0)).abs()
            print(
                f"{name}, {site}: means {error.mean():.3f} sd from those of NUTS on average, "
                f"{error.max():.3f} at most; largest Pareto k {k:.2f}"
            )
    some = counties[:5] if args.smoke else counties[:20]
    print(bm.amortisation_gap(amortised, some).groupby("way").mean().round(3), "\n")
    draw_counties(refined, nuts, args.out / "amortised_radon.png")


if __name__ == "__main__":
    main()
