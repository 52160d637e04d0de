"""Radon in Minnesota: 85 counties help each other, and a county never seen is met house by house.

Radon is a radioactive gas that seeps from the ground into houses. 919 houses of 85 counties were
measured: log radon y_ij, whether on the first floor (floor_ij = 1) or in the basement (0), and for
each county the log uranium u_i of its soil. Some counties have over a hundred houses, many two or
three. What is known of a county with two houses? A line per county, the lines drawn from a
population that depends on uranium (Gelman and Hill 2007, chapters 12 and 13), gives an answer:

    alpha_i ~ N(gamma0 + gamma1 u_i, tau_alpha)    log radon in the basements of county i
    beta_i  ~ N(delta0 + delta1 u_i, tau_beta)     what measuring on the first floor adds
    y_ij    ~ N(alpha_i + beta_i floor_ij, sigma)

The story has four parts: fit; look at what the counties lend each other; meet a new county; ask
whether all this predicts better than simpler models do. `python examples/radon.py` takes one
to two minutes, and writes its figures and the posterior to out/.
"""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from figures.radon import draw_comparison, draw_new_county, draw_shrinkage

import bayesmeta as bm
from bayesmeta.models import radon

Model = Callable[[bm.Tasks], None]

# A county that its uranium misleads: its soil is rich in it, its houses are low in radon. It was
# picked for that, to see how soon a wrong expectation gives way; most counties have less to tell.
NEW_COUNTY = "Olmsted"
SHOTS = (0, 1, 3, 10)
# One house may be odd, so each number of shots is tried on this many random choices of houses.
REPEATS = 10
FOLDS = 3


def no_pooling(tasks: bm.Tasks) -> None:
    """Each county on its own: an intercept under a prior too wide to say anything.

    The effect of the floor is shared, as in Gelman and Hill; most counties could not tell theirs.
    """
    beta = pyro.sample("beta", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        alpha = pyro.sample("alpha", dist.Normal(0.0, 10.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(alpha + beta * tasks.x["floor"], sigma), obs=tasks.y)


def complete_pooling(tasks: bm.Tasks) -> None:
    """One line for all houses, wherever they stand: theta alone, no phi."""
    alpha = pyro.sample("alpha", dist.Normal(0.0, 2.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2), pyro.plate("data", tasks.num_data, dim=-1):
        pyro.sample("y", dist.Normal(alpha + beta * tasks.x["floor"], sigma), obs=tasks.y)


def uranium_alone(tasks: bm.Tasks) -> None:
    """The population's line without counties around it: the partial pooling model at tau = 0."""
    gamma0 = pyro.sample("gamma0", dist.Normal(0.0, 2.0))
    gamma1 = pyro.sample("gamma1", dist.Normal(0.0, 2.0))
    delta0 = pyro.sample("delta0", dist.Normal(0.0, 2.0))
    delta1 = pyro.sample("delta1", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    u, floor = tasks.x["log_uranium"], tasks.x["floor"]
    with pyro.plate("tasks", tasks.num_tasks, dim=-2), pyro.plate("data", tasks.num_data, dim=-1):
        mean = gamma0 + gamma1 * u + (delta0 + delta1 * u) * floor
        pyro.sample("y", dist.Normal(mean, sigma), obs=tasks.y)


# The first fit finds that alpha and beta sample better noncentred; told so, later fits need no
# pilot. Under no pooling the prior is wide, so that centred is better.
NONCENTRED = ("alpha", "beta")
MODELS: dict[str, tuple[Model, tuple[str, ...]]] = {
    "no pooling": (no_pooling, ()),
    "complete pooling": (complete_pooling, ()),
    "uranium alone": (uranium_alone, ()),
    "partial pooling": (radon.model, NONCENTRED),
}


def part_one(counties: bm.Tasks, theta: bm.NUTS, out: Path) -> bm.Posterior:
    """Read the model, fit it, and ask whether the draws can be trusted."""
    # The table shows whether the library read what was meant: alpha and beta are in the plate
    # "tasks" (phi), and their parents are the population's parameters (theta) and uranium.
    print(inspect.getsource(radon.model))
    print(counties, "\n")
    print(bm.structure(radon.model, counties), "\n")

    post = bm.fit(radon.model, counties, theta=theta, phi=bm.Joint(), progress=False)
    print(*post.notes, sep="\n", end="\n\n")
    print(post.summary().loc[list(post.theta)].to_string(), "\n")
    print(post.diagnose(), "\n")

    # Everything goes into one file that ArviZ, xarray, R and Julia read.
    post.to_arviz().to_netcdf(str(out / "radon.nc"))
    print(f"posterior (NetCDF): {out / 'radon.nc'}")
    return post


def on_their_own(counties: bm.Tasks) -> torch.Tensor:
    """Each county's intercept by least squares, (tasks,): no pooling under flat priors.

    The effect of the floor is shared: the slope of y on floor, both less their county's mean.
    """

    def mean(values: torch.Tensor) -> torch.Tensor:
        return torch.where(counties.mask, values, 0.0).sum(1) / counties.sizes

    y, floor = counties.y, counties.x["floor"]
    within_y, within_floor = y - mean(y)[:, None], floor - mean(floor)[:, None]
    real = counties.mask
    slope = (within_y * within_floor)[real].sum() / within_floor[real].square().sum()
    return mean(y - slope * floor)


def part_two(post: bm.Posterior, out: Path) -> None:
    """What the counties lend each other: estimates one by one against estimates together."""
    # With two houses a county's own mean hardly counts; with a hundred, nothing else does.
    own, shared = on_their_own(post.tasks), post.phi["alpha"].mean((0, 1))
    u = post.tasks.x["log_uranium"][:, 0]
    line = post.theta["gamma0"].mean() + post.theta["gamma1"].mean() * u
    print("\nmean distance of a county's intercept from the line on uranium, log pCi/L:")
    for low, high in ((1, 3), (4, 9), (10, 999)):
        group = (post.tasks.sizes >= low) & (post.tasks.sizes <= high)
        before, after = ((a - line)[group].abs().mean() for a in (own, shared))
        size = f"{low} to {high}" if high < 999 else f"{low} or more"
        print(
            f"  {size:10s} houses ({int(group.sum()):2d} counties): "
            f"{before:.2f} on their own, {after:.2f} together"
        )
    draw_shrinkage(own, post, out / "radon_shrinkage.png")


def part_three(counties: bm.Tasks, theta: bm.NUTS, out: Path) -> None:
    """A county that the fit has not seen, and what 0, 1, 3 and 10 of its houses teach."""
    rest = counties[[name for name in counties.names if name != NEW_COUNTY]]
    theta = replace(theta, noncentred=NONCENTRED)
    post = bm.fit(radon.model, rest, theta=theta, phi=bm.Joint(), progress=False)

    # The same county many times over: split() shuffles each copy in its own way, and for one seed
    # the support of 1 shot is part of that of 3. All are scored on the houses that none has seen.
    copies = counties[[NEW_COUNTY] * REPEATS]
    _, query = copies.split(max(SHOTS), seed=1)
    adapted, scores = {}, {}
    for shots in SHOTS:
        support, _ = copies.split(shots, seed=1)
        # theta stays as the other 84 counties left it; only alpha and beta of this county are
        # inferred, for each draw of theta. With 0 shots they follow their prior: the uranium line.
        adapted[shots] = post.adapt(support)
        scores[shots] = adapted[shots].log_score(query).mean(1)
    everything = post.adapt(counties[[NEW_COUNTY]])

    unseen = query.num_data
    print(f"\n{NEW_COUNTY}, held out: its intercept, and the log score of {unseen} unseen houses")
    print(f"(mean a house, over {REPEATS} random choices of the houses seen; gain over none seen)")
    print(f"{'houses seen':>12s}{'alpha':>8s}{'sd':>7s}{'log score':>12s}{'gain':>9s}{'sd':>7s}")
    for shots in SHOTS:
        alpha = adapted[shots].phi["alpha"].flatten(0, 1)
        mean, sd = alpha.mean().item(), alpha.std(0).mean().item()
        score, gain = scores[shots], scores[shots] - scores[0]
        moved = f"{gain.mean():+9.3f}{gain.std():7.3f}" if shots else ""
        print(f"{shots:12d}{mean:8.2f}{sd:7.2f}{score.mean():12.3f}{moved}")
    alpha = everything.phi["alpha"].flatten()
    print(
        f"{'all ' + str(int(everything.tasks.sizes[0])):>12s}{alpha.mean():8.2f}{alpha.std():7.2f}"
    )
    draw_new_county(adapted, everything, query, scores, out / "radon_new_county.png")


def keep(counties: bm.Tasks, houses: torch.Tensor) -> bm.Tasks:
    """The same counties with these houses alone; a county may be left with none."""
    return bm.Tasks.from_arrays(
        counties.y, counties.x, mask=counties.mask & houses, names=counties.names
    )


def held_out_scores(counties: bm.Tasks, theta: bm.NUTS, folds: int) -> pd.DataFrame:
    """One row a house: its county, how many of its neighbours were seen, each model's score."""
    rng = np.random.default_rng(0)
    fold = torch.zeros(counties.mask.shape, dtype=torch.long)
    for i, size in enumerate(counties.sizes.tolist()):
        # A fold gets its share of every county; a random start, lest fold 0 gets all the singles.
        fold[i, :size] = torch.from_numpy((rng.permutation(size) + rng.integers(FOLDS)) % FOLDS)
    parts = []
    for k in range(folds):
        seen, unseen = keep(counties, fold != k), keep(counties, fold == k)
        county, _ = unseen.mask.nonzero(as_tuple=True)
        rows = {"county": county.numpy(), "seen": seen.sizes[county].numpy()}
        for name, (model, noncentred) in MODELS.items():
            nuts = replace(theta, noncentred=noncentred)
            post = bm.fit(model, seen, theta=nuts, phi=bm.Joint(), progress=False)
            rows[name] = post.log_score(unseen)[unseen.mask].numpy()
        parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True)


def mean_and_error(values: pd.Series, county: pd.Series) -> tuple[float, float]:
    """The mean over houses and its standard error, houses of one county counting as one cluster."""
    centred = (values - values.mean()).groupby(county).sum()
    return values.mean(), float(np.sqrt((centred**2).sum())) / len(values)


def part_four(counties: bm.Tasks, theta: bm.NUTS, folds: int, out: Path) -> None:
    """Does partial pooling predict houses better than simpler models do?"""
    scores = held_out_scores(counties, theta, folds)
    print(f"\n{len(scores)} held-out houses: log score (mean a house; higher is better), and")
    print("the difference from partial pooling with its standard error, clustered by county")
    groups = {
        "all houses": scores["seen"] >= 0,
        "0 to 2 seen": scores["seen"] <= 2,
        "3 to 9 seen": scores["seen"].between(3, 9),
        "10 or more seen": scores["seen"] >= 10,
    }
    rows = []
    for group, chosen in groups.items():
        part = scores[chosen]
        for model in MODELS:
            lead, error = mean_and_error(part[model] - part["partial pooling"], part["county"])
            rows.append((group, len(part), model, part[model].mean(), lead, error))
    columns = ["county's houses", "houses", "model", "log score", "difference", "standard error"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.to_string(index=False, float_format="%.3f"))
    draw_comparison(table, out / "radon_comparison.png")


def main() -> None:
    """The four parts in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="short chains: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where all files go")
    parser.add_argument(
        "--folds",
        type=int,
        choices=range(1, FOLDS + 1),
        default=1,
        help=f"how many of {FOLDS} folds are held out in turn; {FOLDS} scores every house",
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    smoke = bm.NUTS(chains=2, tune=100, draws=100, max_depth=4, compile=False)
    theta = smoke if args.smoke else bm.NUTS()
    # A score needs fewer draws than a table of quantiles.
    quick = smoke if args.smoke else bm.NUTS(chains=2, tune=300, draws=300)

    counties = radon.tasks()
    post = part_one(counties, theta, args.out)
    part_two(post, args.out)
    part_three(counties, quick, args.out)
    part_four(counties, quick, args.folds, args.out)

    print(f"\n{time.perf_counter() - began:.0f} s. Written to {args.out}/:")
    for path in sorted(args.out.glob("radon*")):
        print(f"  {path.name}")


if __name__ == "__main__":
    main()
