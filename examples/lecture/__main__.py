"""The lecture as one page: python -m bayesmeta.lecture out/"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from bayesmeta.lecture import (
    entropy_drop,
    graphs,
    independence,
    learning_curves,
    limit,
    meta_overfitting,
    price,
    settings,
    sinusoid_theta,
    two_views,
)
from bayesmeta.lecture.page import Built, page
from bayesmeta.lecture.section import Section

# In the lecture's order.
SECTIONS: dict[str, Callable[[bool], Section]] = {
    "graphs": graphs.section,
    "settings": settings.section,
    "two_views": two_views.section,
    "independence": independence.section,
    "entropy_drop": entropy_drop.section,
    "sinusoid_theta": sinusoid_theta.section,
    "learning_curves": learning_curves.section,
    "limit": limit.section,
    "meta_overfitting": meta_overfitting.section,
    "price": price.section,
}
TITLE = "Transfer and meta-learning, computed"
INTRODUCTION = """
The lecture "Transfer Learning + Start of Meta-Learning" of Stanford's CS330 (Deep Multi-Task and
Meta-Learning) draws meta-learning as one graphical model, and makes claims about it. On this page
each graph is drawn from a model that runs, and each claim is a number that inference has found,
with its Monte Carlo error, beside the closed form where there is one.

Everything was computed as this page was built, by the code that stands under each section.
"""


def main() -> None:
    """Build the page, and the figures beside it."""
    parser = argparse.ArgumentParser(prog="python -m bayesmeta.lecture", description=__doc__)
    parser.add_argument("out", type=Path, help="a folder: index.html and the figures go there")
    parser.add_argument("--smoke", action="store_true", help="short runs: does it build?")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, section in tqdm(SECTIONS.items(), desc="sections"):
        began = time.perf_counter()
        parts.append(Built(name, section(args.smoke), time.perf_counter() - began))
        for stem, figure in parts[-1].section.figures.items():
            figure.savefig(args.out / f"{stem}.png", dpi=160)
    (args.out / "index.html").write_text(page(TITLE, INTRODUCTION, parts), encoding="utf-8")
    print(f"{args.out / 'index.html'}: {sum(p.seconds for p in parts):.0f} s")


if __name__ == "__main__":
    main()
