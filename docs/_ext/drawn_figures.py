"""Figures that are none of pyplot's, as `graph.draw()` gives them, into the pages of examples."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_SHOWN = "_is_on_the_page"


def _get_sg_image_scraper() -> Any:
    """What sphinx-gallery asks a module for."""
    return scrape


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Write the figures that a block of an example has a name for, once each."""
    of_pyplot = [plt.figure(number) for number in plt.get_fignums()]
    paths = []
    for value in list(block_vars["example_globals"].values()):
        is_new = isinstance(value, Figure) and not hasattr(value, _SHOWN)
        if is_new and value not in of_pyplot:
            paths.append(next(block_vars["image_path_iterator"]))
            value.savefig(paths[-1], dpi=110, bbox_inches="tight")
        if is_new:
            setattr(value, _SHOWN, True)
    return figure_rst(paths, gallery_conf["src_dir"])
