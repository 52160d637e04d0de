"""Predators and prey: a network learns from simulated series and infers the real one.

Lotka's and Volterra's equations have four rates, two first populations and two errors. A network
that was trained on thousands of simulated series reads the pelts that the Hudson's Bay Company
collected in 1900 to 1920, and gives the posterior of all eight in one pass. How good that is, its
Pareto k tells; `refine` mends what is not, and the reference draws of posteriordb are the judge.

The network learns from what each series was simulated from (`bm.Simulated`): a likelihood of cycles
has a mode for each wrong phase, at which a bound that climbs it, the ELBO, ends. And a series has
an order: the encoder `lynx_hare.Series`, which is all it takes to bring one's own, reads its years
side by side.

`python examples/lynx_hare.py` trains for two to three minutes on one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
import torch
from figures.lynx_hare import draw_lynx_hare

import bayesmeta as bm
from bayesmeta.models import lynx_hare


def compare(post: bm.Posterior, reference: pd.DataFrame) -> pd.DataFrame:
    """Distance of means from the reference in its sds, and ratio of sds."""
    rows = []
    for row in reference.itertuples():
        draws = post.phi[row.site].flatten(0, 1).flatten(1)[:, row.element]
        error, ratio = (draws.mean() - row.mean) / row.sd, draws.std() / row.sd
        rows.append({"mean": float(error), "sd": float(ratio)})
    return pd.DataFrame(rows, index=pd.MultiIndex.from_frame(reference[["site", "element"]]))


def main() -> None:
    """Train on simulations, infer the real series, compare, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figure goes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    simulated = lynx_hare.simulated(200 if args.smoke else 100_000)
    adam = bm.Adam(lr=1e-3, steps=3 if args.smoke else 8000, patience=0, compile=False)
    phi = bm.Amortised(lynx_hare.Series(128), bound=bm.Simulated(), width=256)
    began = time.perf_counter()
    theta = bm.Point(batch_size=128, adam=adam)
    held_out = lynx_hare.simulated(1000, seed=1)
    trained = bm.fit(lynx_hare.model, simulated, theta=theta, phi=phi, validation=held_out)
    print(f"trained on {len(simulated):,} simulated series in {time.perf_counter() - began:.0f} s")

    real = lynx_hare.tasks()
    network = trained.adapt(real)
    refined = trained.adapt(
        real, refine=bm.Refine(steps=3, rerun=None) if args.smoke else bm.Refine()
    )
    print(*network.diagnose().messages, *refined.notes, sep="\n")
    reference = pd.read_csv(lynx_hare.REFERENCE)
    found = {"network": network, "refined": refined}
    table = pd.concat({name: compare(post, reference) for name, post in found.items()}, axis=1)
    print("\nmeans: distance from the reference in its sds; sds: ratio\n", table.round(2))
    torch.manual_seed(0)
    draw_lynx_hare(found, reference, args.out / "lynx_hare.png")


if __name__ == "__main__":
    main()
