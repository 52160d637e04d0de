"""The command line of one section: its numbers printed, its figures written."""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bayesmeta.lecture.section import Number, Section


def main(section: Callable[[bool], Section]) -> None:
    """Compute a section, print what it says and found, and write its figures to --out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="few draws: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figures go")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    began = time.perf_counter()
    done = section(args.smoke)
    print(f"{done.title}\n")
    for paragraph in done.text.strip().split("\n\n"):
        print(textwrap.fill(" ".join(paragraph.split()), 100), end="\n\n")
    print(table(done.numbers))
    for stem, figure in done.figures.items():
        path = args.out / f"{stem}.png"
        figure.savefig(path, dpi=150)
        print(f"figure: {path}")
    print(f"{time.perf_counter() - began:.1f} s")


def table(numbers: Sequence[Number]) -> str:
    """Numbers with their errors and closed forms, a line each."""
    width = max(len(number.what) for number in numbers)
    lines = [f"{'':{width}s}{'found':>10s}{'error':>9s}{'closed form':>14s}"]
    for number in numbers:
        found, error, oracle = number.cells
        lines.append(f"{number.what:{width}s}{found:>10s}{error:>9s}{oracle:>14s}")
    return "\n".join(lines)
