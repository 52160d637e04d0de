"""The three figures of the radon story."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.mlab import GaussianKDE

import bayesmeta as bm

# Okabe and Ito: safe for the colour-blind.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
LOG_RADON = "log radon (log pCi/L)"
SIMPLER = {"no pooling": GREY, "complete pooling": GREEN, "uranium alone": ORANGE}


def draw_shrinkage(no_pooling: torch.Tensor, post: bm.Posterior, path: Path) -> None:
    """Each county's intercept on its own and together, against uranium and against its size."""
    u = post.tasks.x["log_uranium"][:, 0]
    sizes = post.tasks.sizes.numpy()
    draws = post.phi["alpha"].flatten(0, 1)
    own = no_pooling.numpy()
    low, together, high = torch.quantile(draws, torch.tensor([0.1, 0.5, 0.9]).to(draws), dim=0)
    gamma0, gamma1 = (post.theta[name].flatten()[:, None] for name in ("gamma0", "gamma1"))

    figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 5.2), layout="constrained")
    grid = torch.linspace(float(u.min()) - 0.05, float(u.max()) + 0.05, 50).to(u)
    band = torch.quantile(gamma0 + gamma1 * grid, torch.tensor([0.1, 0.5, 0.9]).to(u), dim=0)
    left.fill_between(grid, band[0], band[2], color=ORANGE, alpha=0.2, lw=0)
    left.plot(grid, band[1], color=ORANGE, lw=2, label="regression on uranium, 80% interval")
    _pairs(left, u.numpy(), own, together.numpy())
    left.vlines(u, low, high, color=BLUE, lw=1, alpha=0.5)
    left.set_xlabel("log uranium of the county's soil (log ppm)")
    left.set_ylabel(f"county intercept: basement\n{LOG_RADON}")
    left.set_title("Partial pooling draws counties to the line on uranium", loc="left")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )

    line = float(gamma0.mean()) + float(gamma1.mean()) * u.numpy()
    # Counties of one size would hide each other: a spread of a few per cent sets them apart.
    spread = np.exp(np.random.default_rng(0).uniform(-0.07, 0.07, len(sizes)))
    right.axhline(0.0, color=ORANGE, lw=2)
    _pairs(right, sizes * spread, own - line, together.numpy() - line)
    right.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100]
    right.set_xticks(ticks, [str(t) for t in ticks])
    right.xaxis.set_minor_locator(plt.NullLocator())
    for name in ("St. Louis", "Olmsted"):
        i = post.tasks.names.index(name)
        place = (sizes[i] * spread[i], min(own[i], float(together[i])) - line[i] - 0.04)
        right.annotate(name, place, ha="center", va="top", fontsize=9)
    right.set_xlabel("houses measured in the county")
    right.set_ylabel("intercept minus regression line\n(log pCi/L)")
    right.set_title("... the more so the fewer houses they have", loc="left")
    _finish(figure, path)


def draw_new_county(
    adapted: Mapping[int, bm.Posterior],
    everything: bm.Posterior,
    query: bm.Tasks,
    scores: Mapping[int, torch.Tensor],
    path: Path,
) -> None:
    """The unseen county by the number of its houses seen: intercept, prediction and score."""
    name = query.names[0]
    shades = dict(zip(adapted, plt.colormaps["viridis_r"](np.linspace(0.2, 0.95, 4)), strict=True))
    figure, axes = plt.subplots(
        1, 3, figsize=(14, 4.8), width_ratios=[1.15, 1.15, 1], layout="constrained"
    )
    _ridges(axes[0], adapted, shades)
    target = float(everything.phi["alpha"].mean())
    axes[0].axvline(target, color=ORANGE, lw=1.5, zorder=0)
    size = int(everything.tasks.sizes[0])
    axes[0].set_title(f"{name}'s intercept (line: from all {size} houses)", loc="left")
    axes[0].set_xlabel(f"county intercept: basement {LOG_RADON}")
    axes[0].set_ylabel("houses seen")
    _predictions(axes[1], adapted, query, shades)
    axes[1].set_title("Its unseen basements, and what is predicted", loc="left")
    axes[1].set_xlabel(f"basement {LOG_RADON}")
    _gains(axes[2], scores, shades)
    axes[2].set_title("Gain on the unseen houses", loc="left")
    repeats = len(scores[0])
    axes[2].set_xlabel(f"houses seen\n({repeats} random choices; bars: mean)")
    axes[2].set_ylabel("gain in log score over none seen\n(mean a house)")
    _finish(figure, path)


def draw_comparison(table: pd.DataFrame, path: Path) -> None:
    """Simpler models' scores less partial pooling's, by how many houses of the county were seen."""
    groups = table.drop_duplicates("county's houses")
    places = np.arange(len(groups))[::-1]
    figure, axes = plt.subplots(figsize=(9, 4.6), layout="constrained")
    axes.axvline(0.0, color=BLUE, lw=2, label="partial pooling")
    for k, (model, colour) in enumerate(SIMPLER.items()):
        rows = table[table["model"] == model]
        axes.errorbar(
            rows["difference"],
            places + 0.2 * (1 - k),
            xerr=rows["standard error"],
            fmt="o",
            color=colour,
            lw=1.8,
            ms=7,
            label=model,
        )
    labels = zip(groups["county's houses"], groups["houses"], strict=True)
    axes.set_yticks(places, [f"{group}\n({count} houses)" for group, count in labels])
    axes.set_xlabel("log score minus that of partial pooling (mean a held-out house, ± 1 se)")
    axes.set_ylabel("houses of the county seen by the fit")
    axes.set_title("Held-out houses: simpler models against partial pooling", loc="left")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    _finish(figure, path)


def _pairs(axes: Axes, x: np.ndarray, own: np.ndarray, together: np.ndarray) -> None:
    axes.vlines(x, own, together, color=GREY, lw=0.6, alpha=0.6, zorder=1)
    axes.plot(x, own, "o", color=GREY, mfc="white", ms=4.5, label="no pooling (least squares)")
    axes.plot(x, together, "o", color=BLUE, ms=4.5, label="partial pooling (median, 80% interval)")


def _ridges(axes: Axes, adapted: Mapping[int, bm.Posterior], shades: Mapping[int, tuple]) -> None:
    alphas = {shots: _first(p.phi["alpha"]) for shots, p in adapted.items()}
    low, high = np.quantile(np.concatenate(list(alphas.values())), [0.002, 0.998])
    grid = np.linspace(low - 0.1, high + 0.1, 300)
    densities = {shots: GaussianKDE(alpha).evaluate(grid) for shots, alpha in alphas.items()}
    height = 1.25 / max(d.max() for d in densities.values())
    for place, (shots, density) in enumerate(densities.items()):
        base, colour = -float(place), shades[shots]
        axes.fill_between(grid, base, base + height * density, color=colour, alpha=0.75, lw=0)
        axes.plot(grid, base + height * density, color="white", lw=1)
    axes.set_yticks([-float(k) for k in range(len(adapted))], [str(s) for s in adapted])


def _predictions(
    axes: Axes, adapted: Mapping[int, bm.Posterior], query: bm.Tasks, shades: Mapping[int, tuple]
) -> None:
    basement = query.x["floor"][0] == 0
    for place, (shots, post) in enumerate(adapted.items()):
        draws = post.predict(query).draws.flatten(0, 1)[:, 0, basement].flatten().numpy()
        for width, (low, high) in ((3, (0.05, 0.95)), (9, (0.25, 0.75))):
            ends = np.quantile(draws, [low, high])
            axes.plot(ends, [-place, -place], color=shades[shots], lw=width, solid_capstyle="butt")
        axes.plot(np.median(draws), -place, "o", color="white", mec="black", ms=6)
    y = query.y[0, basement].numpy()
    axes.plot(y, np.full(len(y), -len(adapted)), "|", color="black", ms=16, mew=1.4)
    ticks = [-float(k) for k in range(len(adapted) + 1)]
    axes.set_yticks(ticks, [*(f"{s} seen" for s in adapted), "unseen\nhouses"])
    axes.set_ylim(-len(adapted) - 0.5, 0.6)
    axes.text(0.99, 0.99, "bars: 50% and 90%", transform=axes.transAxes, ha="right", va="top")


def _gains(axes: Axes, scores: Mapping[int, torch.Tensor], shades: Mapping[int, tuple]) -> None:
    rng = np.random.default_rng(0)
    axes.axhline(0.0, color=GREY, lw=1)
    shown = [shots for shots in scores if shots > 0]
    for place, shots in enumerate(shown):
        gain = (scores[shots] - scores[0]).numpy()
        jitter = place + rng.uniform(-0.15, 0.15, len(gain))
        axes.plot(jitter, gain, "o", color=shades[shots], ms=5, alpha=0.6)
        axes.plot(place, gain.mean(), "_", color="black", ms=30, mew=2)
    axes.set_xticks(range(len(shown)), [str(shots) for shots in shown])
    axes.set_xlim(-0.6, len(shown) - 0.4)


def _first(draws: torch.Tensor) -> np.ndarray:
    """All draws of the first task of (chain, draw, tasks)."""
    return draws.flatten(0, 1)[:, 0].numpy()


def _finish(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path}")
