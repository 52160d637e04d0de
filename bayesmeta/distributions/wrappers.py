"""Distributions less the wrappers around them."""

from __future__ import annotations

from typing import Any


def base_distribution(fn: Any) -> Any:
    """A distribution less the wrappers that only reshape or expand it."""
    while type(fn).__name__ in ("Independent", "ExpandedDistribution"):
        fn = fn.base_dist
    return fn
