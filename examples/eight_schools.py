"""Eight schools: the smallest hierarchical model, and the whole of bayesmeta on one page.

In the 1970s eight schools coached their pupils for a test. Each reported one number, the mean gain
y_i in points, with its standard error sigma_i (Rubin 1981). Did coaching help, and more so in some
schools than in others? The eight numbers taken at face value say -3 to 28 points; their average
says that all differences are noise. A hierarchical model weighs the two by what the data say of the
spread tau between schools:

    mu ~ N(0, 5),  tau ~ HalfCauchy(5),  effect_i ~ N(mu, tau),  y_i ~ N(effect_i, sigma_i)

Run it with `python examples/eight_schools.py`; it takes some seconds, half a minute where the
density is compiled first, and writes out/eight_schools.png.
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import bayesmeta as bm
from bayesmeta.models import eight_schools

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"  # Okabe and Ito: safe for the colour-blind


def tau_density(grid: np.ndarray, schools: bm.Tasks) -> np.ndarray:
    """p(tau | y) on an even grid, exactly: given tau, y is Gaussian with mu and the effects out.

    y ~ N(0, diag(sigma_i^2 + tau^2) + 5^2), so the only integral left is over tau itself.
    """
    y, sigma = schools.y[:, 0].numpy(), schools.x["sigma"][:, 0].numpy()
    log_density = np.empty_like(grid)
    for k, tau in enumerate(grid):
        covariance = np.diag(sigma**2 + tau**2) + 25.0
        fit = y @ np.linalg.solve(covariance, y)
        log_density[k] = -0.5 * (np.linalg.slogdet(covariance)[1] + fit) - np.log1p((tau / 5) ** 2)
    density = np.exp(log_density - log_density.max())
    return density / (density.sum() * (grid[1] - grid[0]))


def compare_with_exact(post: bm.Posterior) -> None:
    """Print each posterior mean and sd beside its exact value, by quadrature over tau."""
    print(f"{'':10s}{'mean':>8s}{'exact':>8s}{'sd':>8s}{'exact':>8s}   (mean - exact) / sd")
    for site, (mean, sd) in eight_schools.REFERENCE.items():
        draws = {**post.theta, **post.phi}[site].flatten(0, 1)
        found = zip(
            draws.mean(0).reshape(-1).tolist(),
            mean.reshape(-1).tolist(),
            draws.std(0).reshape(-1).tolist(),
            sd.reshape(-1).tolist(),
            strict=True,
        )
        for i, (m, exact_m, s, exact_s) in enumerate(found):
            label = site if mean.dim() == 0 else f"{site} {post.tasks.names[i]}"
            error = (m - exact_m) / exact_s
            print(f"{label:10s}{m:8.2f}{exact_m:8.2f}{s:8.2f}{exact_s:8.2f}   {error:+.3f}")


def draw_effects(axes: Axes, post: bm.Posterior) -> None:
    """What each school reported, and what is known of it once the others are heard."""
    y, sigma = post.tasks.y[:, 0].numpy(), post.tasks.x["sigma"][:, 0].numpy()
    effect = post.phi["effect"].flatten(0, 1)
    place = np.arange(len(y))[::-1]
    mu = post.theta["mu"].mean().item()
    axes.axvline(mu, color=ORANGE, lw=1.2, zorder=0)
    axes.text(mu + 0.7, len(y) - 0.42, f"mean of mu: {mu:.1f}", color=ORANGE, va="bottom")
    axes.errorbar(
        y,
        place + 0.15,
        xerr=sigma,
        fmt="o",
        color=GREY,
        mfc="white",
        lw=1.2,
        label="reported: y ± sigma",
    )
    axes.errorbar(
        effect.mean(0),
        place - 0.15,
        xerr=effect.std(0),
        fmt="o",
        color=BLUE,
        lw=2.4,
        label="posterior: mean ± sd",
    )
    axes.set_yticks(place, [f"School {name}" for name in post.tasks.names])
    axes.set_ylim(-0.7, len(y) + 0.1)
    axes.set_xlabel("effect of coaching (points)")
    axes.set_title("Eight schools, shrunk towards each other", loc="left")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)


def draw_tau(axes: Axes, post: bm.Posterior) -> None:
    """How much the schools differ: the draws, and the density they should have."""
    grid = np.linspace(0.0, 200.0, 8001)
    exact = tau_density(grid, post.tasks)
    tau = post.theta["tau"].flatten().numpy()
    bins = np.linspace(0.0, 20.0, 41)
    share = np.full(len(tau), 1.0 / (len(tau) * (bins[1] - bins[0])))
    axes.hist(tau, bins, weights=share, color=BLUE, alpha=0.35, label="draws (NUTS)")
    axes.plot(grid, exact, color=ORANGE, lw=2, label="exact (quadrature)")
    axes.set_xlim(0, 20)
    axes.set_xticks(range(0, 21, 5))
    axes.set_xlabel("tau: sd of the effects between schools (points)")
    axes.set_ylabel("density (per point)")
    axes.set_title("The data allow a tau of zero", loc="left")
    axes.legend(frameon=False)


def draw(post: bm.Posterior, path: Path) -> None:
    """Both panels, in one figure."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 5), width_ratios=[1.25, 1], layout="constrained"
    )
    draw_effects(left, post)
    draw_tau(right, post)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path}")


def main() -> None:
    """The story, from the model to the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="short chains: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where figures go")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    # A model is a plain Pyro function with two plates. What is inside "tasks" differs from school
    # to school (phi); what is outside is shared (theta).
    print(inspect.getsource(eight_schools.model))

    # The data: eight tasks of one datapoint each, with sigma as an input column.
    schools = eight_schools.tasks()
    print(schools, "\n")

    # Before any inference: was the model read as it was meant? The parents of "effect" are mu and
    # tau, so these are what the schools share.
    print(bm.structure(eight_schools.model, schools), "\n")

    # A fit names what is done with theta, and what with phi. Here NUTS samples both together. Where
    # tau is small the effects can hardly move, and a sampler gets stuck in that funnel (Betancourt
    # and Girolami 2015); the strategy therefore samples (effect - mu) / tau instead, and says so. A
    # few transitions still diverged at the default target_accept of 0.8, and `diagnose` advised to
    # raise it.
    smoke = bm.NUTS(chains=2, tune=100, draws=100, compile=False)
    theta = smoke if args.smoke else bm.NUTS(target_accept=0.99)
    post = bm.fit(eight_schools.model, schools, theta=theta, phi=bm.Joint(), progress=False)
    print(*post.notes, sep="\n", end="\n\n")

    print(post.summary().to_string(), "\n")
    print(post.diagnose(), "\n")

    # This posterior is also known exactly, which few are: a check on the whole chain of tools.
    compare_with_exact(post)

    # A reported 28 points and C -3; yet it is far from certain that A gained more.
    effect = post.phi["effect"]
    more = (effect[..., 0] > effect[..., 2]).double().mean()
    print(f"\nP(coaching helped more at A than at C | y) = {more:.2f}")
    draw(post, args.out / "eight_schools.png")


if __name__ == "__main__":
    main()
