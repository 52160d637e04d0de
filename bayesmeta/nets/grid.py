"""A grid of nodes, by which a place in space becomes the input of convolutions."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_number, check_whole


def nearness(place: Tensor, grid: int, reach: float) -> Tensor:
    """k(u - place) for the nodes u of a grid over -reach..reach: 1 there, 0 one node on.

    Args:
        place: coordinates (...).
        grid: how many nodes.
        reach: the outermost ones.

    Returns:
        (..., grid).
    """
    check_whole("nearness", "grid", grid, least=2)
    check_number("nearness", "reach", reach, above=0)
    nodes = torch.linspace(-1.0, 1.0, grid, dtype=place.dtype, device=place.device)
    between = (place[..., None] / reach - nodes).abs() * (grid - 1) / 2
    return (1.0 - between).clamp(min=0.0)
