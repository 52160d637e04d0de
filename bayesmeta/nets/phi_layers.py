"""The layers of phi: which of its numbers are which parameter of which network, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError, first_few
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean
from bayesmeta.nets import calls
from bayesmeta.nets.calls import Still
from bayesmeta.nets.net import Net
from bayesmeta.running.isolation import isolated


@dataclass(frozen=True)
class Layers:
    """Names of the parts of phi, in the model's order: from the input on, as modules are written.

    A site that is a network's weights has a part for each of its parameters, "site.layer.weight"
    with the module's own names; any other site is one part, under its own name.

    Attributes:
        parts: where each part lies in phi (tasks, d_phi).
        nets: the networks by site.
        blocks: names of parts, or what several parts' names start with, in order; together they
            are all of phi. By default a site, and of a network its module's children.
        shapes: of the parts, for one task.
    """

    parts: Mapping[str, slice]
    nets: Mapping[str, Net]
    blocks: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def d_phi(self) -> int:
        """The numbers of phi."""
        return max((place.stop for place in self.parts.values()), default=0)

    def of(self, *names: str) -> Tensor:
        """Which numbers of phi are under these names, bool (d_phi,).

        Raises:
            StructureError: for a name that no part has, or starts with.
        """
        found = torch.zeros(self.d_phi, dtype=torch.bool)
        for name in names:
            inside = [part for part in self.parts if part == name or part.startswith(name + ".")]
            if not inside:
                raise StructureError(
                    f"phi has no layer '{name}'; its layers are {first_few(list(self.blocks))}, "
                    f"of {first_few(list(self.parts))}"
                )
            for part in inside:
                found[self.parts[part]] = True
        return found

    def each_block(self) -> Tensor:
        """Which numbers of phi are in which block, bool (blocks, d_phi)."""
        return torch.stack([self.of(name) for name in self.blocks])

    def shapes_of(self, moves: Tensor) -> dict[str, tuple[int, ...]]:
        """The shapes of the parts that move, in phi's order; moves is bool (d_phi,)."""
        inside = [part for part, place in self.parts.items() if bool(moves[place].any())]
        return {
            part: self.shapes[part] for part in sorted(inside, key=lambda p: self.parts[p].start)
        }

    def still(self, moves: Tensor, phi: Tensor) -> dict[int, Still]:
        """What to hold at phi (tasks, d_phi) of networks whose parameters do not move.

        Args:
            moves: which numbers of phi do, bool (d_phi,).
            phi: where the others are.
        """
        found = {}
        for site, net in self.nets.items():
            inside = [part for part in self.parts if part.startswith(site + ".")]
            quiet = [p.removeprefix(site + ".") for p in inside if not moves[self.parts[p]].any()]
            place = slice(self.parts[inside[0]].start, self.parts[inside[-1]].stop)
            found[id(net)] = Still(frozenset(quiet), phi[:, place].detach())
        return found

    def redraw(self, name: str, phi: Tensor) -> Tensor:
        """phi with the parameters below `name` as in a new network, the same for each task.

        Raises:
            StructureError: where the name is not a network's.
        """
        where = self.of(name)
        for site, net in self.nets.items():
            if name == site or name.startswith(site + "."):
                inside = [self.parts[part] for part in self.parts if part.startswith(site + ".")]
                fresh = torch.zeros(self.d_phi, dtype=phi.dtype)
                start, stop = inside[0].start, inside[-1].stop
                fresh[start:stop] = net.redrawn(name.removeprefix(site).removeprefix("."))
                return torch.where(where.to(phi.device), fresh.to(phi.device), phi)
        raise StructureError(
            f"fresh='{name}' is no layer of a network, which alone says how to draw new weights; "
            f"networks are at {', '.join(self.nets) or 'no site of phi'}"
        )


def read_layers(
    density: Density, theta: Tensor, tasks: Tasks, blocks: Sequence[str] | None = None
) -> Layers:
    """The layers of phi, read off a run of the model: networks tell which weights they are given.

    Args:
        density: the model's density.
        theta: unconstrained, (d_theta,).
        tasks: any tasks of the model.
        blocks: the blocks by name, in order, if not the default.

    Raises:
        StructureError: where blocks leave out some of phi or overlap.
    """
    some = tasks.select(torch.arange(1))
    with isolated(seed=0), torch.no_grad():
        phi = prior_mean(density, theta, some)
        with calls.watch() as called:
            density.log_likelihood(theta, phi, some)
    nets = _nets(density, phi, called)
    parts: dict[str, slice] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    default: dict[str, None] = {}
    for name, segment in density.segments.items():
        if not segment.is_phi:
            continue
        if name not in nets:
            parts[name], default[name] = slice(segment.start, segment.stop), None
            # Without the axis of the plate "data", which is 1.
            shapes[name] = segment.shape[: segment.axis] + segment.shape[segment.axis + 1 :]
            continue
        for inner, place in nets[name].slices.items():
            parts[f"{name}.{inner}"] = slice(
                segment.start + place.start, segment.start + place.stop
            )
            shapes[f"{name}.{inner}"] = tuple(nets[name].shapes[inner])
            child, _, below = inner.partition(".")
            default[f"{name}.{child}" if below else f"{name}.{inner}"] = None
    layers = Layers(parts, nets, tuple(blocks) if blocks is not None else tuple(default), shapes)
    _check_cover(layers)
    return layers


def _nets(density: Density, phi: Tensor, called: Sequence[calls.Call]) -> dict[str, Net]:
    """The network of each site of phi that is some network's weights, and nothing else is."""
    owner = phi.untyped_storage().data_ptr()
    found: dict[str, Net] = {}
    sites: dict[int, set[str]] = {}
    for net, weights, *_ in called:
        name = ""
        if weights.untyped_storage().data_ptr() == owner:
            name = next(_at(density, int(weights.storage_offset()), net.size), "")
        found[name] = net
        sites.setdefault(id(net), set()).add(name)
    return {name: net for name, net in found.items() if name and len(sites[id(net)]) == 1}


def _at(density: Density, start: int, size: int) -> Iterator[str]:
    """The site of phi that begins there and has so many numbers."""
    for name, segment in density.segments.items():
        if segment.is_phi and (segment.start, segment.stop) == (start, start + size):
            yield name


def _check_cover(layers: Layers) -> None:
    each = torch.stack([layers.of(name) for name in layers.blocks])
    for part, place in layers.parts.items():
        inside = each[:, place].any(1).nonzero()[:, 0].tolist()
        if len(inside) != 1:
            given = "in no block" if not inside else "in several blocks"
            raise StructureError(
                f"parameter '{part}' is {given} of blocks={layers.blocks}; each must be in one: "
                "give names that together cover phi once"
            )
