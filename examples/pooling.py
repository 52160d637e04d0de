"""Pooling: what counties of Minnesota learn from each other, and a new one from all of them.

Multi-task learning in models of the same radon measurements (Gelman & Hill 2007, chapter 12):
complete pooling has one line for all counties, no pooling one for each alone, partial pooling a
line for each around one for all; shared features are a network of all counties with a layer for
each (Caruana 1997), by empirical Bayes. Of each county with four houses or more two are seen, the
others held out; then counties themselves are held out, one after the other.

`python examples/pooling.py` takes ten minutes on one core. Of 741 houses held out in 63 counties:

                            nats a house   behind the best   root mean square error
    partial, with uranium         -1.156                                      0.779
    shared features               -1.167    0.011 +- 0.008                    0.785
    partial pooling               -1.209    0.053 +- 0.017                    0.817
    complete pooling              -1.227    0.071 +- 0.023                    0.826
    no pooling                    -1.537    0.382 +- 0.028                    0.918

The 85 counties, each predicted whole by all others: -1065.1 nats. A new county's houses are worth
-1.392 nats each by 3 counties, -1.172 by 10 and -1.161 by 32. One to three houses of its own help
where little is known (-1.307 by 3 counties), and not where its uranium tells as much (-1.175 by 32;
the closed form says the same).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from figures.pooling import draw_pooling

import bayesmeta as bm
from bayesmeta.models import pooling, radon

MODELS = {
    "complete pooling": pooling.complete,
    "no pooling": pooling.none,
    "partial pooling": pooling.partial,
    "partial, with uranium": radon.model,
}


def main() -> None:
    """Fit all, compare them, leave counties out, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few draws: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figures go")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    draws, compiled = (20, False) if args.smoke else (1000, None)
    nuts = bm.NUTS(chains=2, tune=draws // 2, draws=draws, compile=compiled)

    counties = radon.tasks()
    some = counties[counties.sizes >= 4]
    support, query = (some[:8] if args.smoke else some).split(2, seed=0)
    fits = {name: bm.fit(model, support, theta=nuts) for name, model in MODELS.items()}
    point = bm.Point(adam=bm.Adam(lr=1e-2, steps=3 if args.smoke else 2000))
    small = counties[counties.sizes < 4]  # say when to stop
    fits["shared features"] = bm.fit(
        pooling.shared, support, theta=point, phi=bm.Exact(), validation=small
    )
    compared = bm.compare(fits, query)
    print(f"two houses of each county seen: {compared}\n")

    post = bm.fit(radon.model, some[:8] if args.smoke else counties, theta=nuts, phi=bm.Exact())
    print(f"partial, with uranium: {bm.leave_one_task_out(post, progress=False)}\n")

    source, target = some[::2], some[1::2]
    curve = bm.learning_curve(
        radon.model,
        source,
        target,
        theta=nuts,
        phi=bm.Exact(),
        tasks=[2, 3] if args.smoke else [3, 10, len(source)],
        shots=[0, 2] if args.smoke else [0, 1, 2, 3],
        repeats=1 if args.smoke else 4,
    )
    print(curve)
    draw_pooling(compared, curve, args.out / "pooling.png")


if __name__ == "__main__":
    main()
