"""The figure of the amortised counties: their posteriors by one network, and by NUTS."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import bayesmeta as bm

NUTS, NETWORK = "#0072B2", "#D55E00"
SHARES = (0.0, 0.34, 0.67, 1.0)
LABELS = {"alpha": "log radon in basements", "beta": "first floor less basement"}


def draw_counties(amortised: bm.Posterior, nuts: bm.Posterior, path: Path) -> None:
    """A column a county, from the smallest to the largest, a row a site: two densities each."""
    order = nuts.tasks.sizes.argsort(stable=True)
    chosen = [int(order[round(share * (len(order) - 1))]) for share in SHARES]
    figure, axes = plt.subplots(
        len(LABELS), len(chosen), figsize=(3.1 * len(chosen), 4.6), sharex="row", squeeze=False
    )
    for row, (site, label) in enumerate(LABELS.items()):
        for axis, county in zip(axes[row], chosen, strict=True):
            for post, colour, name in ((nuts, NUTS, "NUTS"), (amortised, NETWORK, "amortised")):
                draws = post.phi[site].flatten(0, 1)[:, county].flatten()
                shape = {"bins": 40, "density": True, "color": colour}
                axis.hist(draws, histtype="stepfilled", alpha=0.15, **shape)
                axis.hist(draws, histtype="step", lw=1.6, label=name, **shape)
            axis.set_yticks([])
            axis.spines[["top", "right", "left"]].set_visible(False)
            axis.set_xlabel(label)
    for axis, county in zip(axes[0], chosen, strict=True):
        size = int(nuts.tasks.sizes[county])
        axis.set_title(f"{nuts.tasks.names[county]}, {size} house{'s' if size > 1 else ''}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=2, loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path}")
