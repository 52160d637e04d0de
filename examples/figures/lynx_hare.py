"""The figure of lynx and hares: the series with its bands, and the posterior by its reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

import bayesmeta as bm
from bayesmeta.models import lynx_hare

HARE, LYNX = "#0072B2", "#D55E00"
COLOURS = {"network": "#E69F00", "refined": "#009E73"}
SYMBOLS = {"alpha": r"$\alpha$", "beta": r"$\beta$", "gamma": r"$\gamma$", "delta": r"$\delta$"}
SYMBOLS |= {"z0": "$z_0$", "sigma": r"$\sigma$"}


def draw_lynx_hare(found: Mapping[str, bm.Posterior], reference: pd.DataFrame, path: Path) -> None:
    """Pelts with 90% of the predictive on the left; parameters in reference sds on the right.

    Args:
        found: posteriors of the real series by name; the last one predicts.
        reference: site, element, mean and sd.
        path: where the figure goes.
    """
    figure, (series, parameters) = plt.subplots(
        1, 2, figsize=(10, 3.9), gridspec_kw={"width_ratios": [1.5, 1]}
    )
    _draw_series(series, list(found.values())[-1])
    _draw_parameters(parameters, found, reference)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path}")


def _draw_series(axis: Axes, post: bm.Posterior) -> None:
    table = lynx_hare.frame()
    prediction = post.predict()
    low, middle, high = (prediction.quantile(q)[0].exp() for q in (0.05, 0.5, 0.95))
    for kind, (name, colour) in enumerate((("hare", HARE), ("lynx", LYNX))):
        part = slice(kind * lynx_hare.YEARS, (kind + 1) * lynx_hare.YEARS)
        axis.fill_between(table["year"], low[part], high[part], color=colour, alpha=0.2, lw=0)
        axis.plot(table["year"], middle[part], color=colour, lw=1.6)
        axis.plot(table["year"], table[name], "o", color=colour, ms=4, label=name)
    axis.set_xticks(range(1900, 1921, 5))
    axis.set_ylim(0, 115)
    axis.set_ylabel("pelts, thousands")
    axis.set_title("what was seen, and 90% of what the model predicts", fontsize=10)
    axis.legend(frameon=False, loc="upper center")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_parameters(
    axis: Axes, found: Mapping[str, bm.Posterior], reference: pd.DataFrame
) -> None:
    axis.axvspan(-1.645, 1.645, color="0.9", lw=0, label="reference, 90%")
    axis.axvline(0, color="0.6", lw=1)
    labels = []
    for place, row in enumerate(reference.itertuples()):
        several = row.site in ("z0", "sigma")
        labels.append(SYMBOLS[row.site] + (f" {('hare', 'lynx')[row.element]}" if several else ""))
        for offset, (name, post) in zip((-0.16, 0.16), found.items(), strict=True):
            draws = post.phi[row.site].flatten(0, 1).flatten(1)[:, row.element]
            low, middle, high = (
                (float(draws.quantile(q)) - row.mean) / row.sd for q in (0.05, 0.5, 0.95)
            )
            shape = {"color": COLOURS[name], "label": name if place == 0 else None}
            axis.plot([low, high], [place + offset] * 2, lw=2, **shape)
            axis.plot(middle, place + offset, "o", ms=4, color=COLOURS[name])
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    axis.set_xlim(-6.5, 3.5)
    axis.set_xlabel("sds from the reference mean")
    axis.set_title("posteriors, 90% intervals", fontsize=10)
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)
