"""simulate: studies drawn from a model, with the design of given tasks, and their truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.tasks import Tasks, check_tasks
from bayesmeta.engine.noise import on_device, seeds
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.handlers import Model
from bayesmeta.running.isolation import isolated, undisturbed
from bayesmeta.simulation.drawn import Drawn, check_simulable, draw_study


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Tasks that a model drew, and what it drew them from.

    Attributes:
        tasks: with the y that was drawn, (tasks, data, ...).
        theta: the truth by site, as `Posterior.theta` has draws of it, without (chain, draw).
        phi: that of the tasks, (tasks, ...), as `Posterior.phi` has draws of it.
    """

    tasks: Tasks
    theta: Mapping[str, Tensor]
    phi: Mapping[str, Tensor]

    def __repr__(self) -> str:
        return f"Study(theta: {', '.join(self.theta)}; phi: {', '.join(self.phi)}; {self.tasks!r})"


class Studies(Sequence[Study]):
    """Studies k = 0, ..., each drawn when it is asked for, by the seed and k alone.

    Args:
        density: of the model.
        design: tasks whose x, sizes, mask and names they have.
        count: how many.
        seed: of all of them.
    """

    def __init__(self, density: Density, design: Tasks, count: int, seed: int) -> None:
        self._density, self._design, self._count, self._seed = density, design, count, seed

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, k: int) -> Study: ...
    @overload
    def __getitem__(self, k: slice) -> list[Study]: ...
    def __getitem__(self, k: int | slice) -> Study | list[Study]:
        """Study k, of the last ones below 0, or a list of some of them.

        Raises:
            IndexError: where there is no such study.
        """
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(self._count))]
        if not -self._count <= k < self._count:
            raise IndexError(
                f"there is no study {k}: simulate drew {self._count}, which are numbered 0 to "
                f"{self._count - 1}; give studies={k + 1 if k >= 0 else -k} or more"
            )
        drawn = drawn_at(self._density, self._design, self._seed, k % self._count)
        truth = Posterior(drawn.truth(self._seed))
        theta, phi = ({n: v[0, 0] for n, v in x.items()} for x in (truth.theta, truth.phi))
        return Study(drawn.tasks, theta, phi)

    def __repr__(self) -> str:
        return f"Studies({self._count} with the design of {self._design!r}; seed={self._seed})"


@undisturbed()
def drawn_at(density: Density, design: Tasks, seed: int, k: int) -> Drawn:
    """What study k of a seed is drawn as."""
    with isolated(seeds(seed, 1, repeat=k)[0]), on_device(design.device), torch.no_grad():
        return draw_study(density, design)


@undisturbed()
def simulable(model: Model, tasks: Tasks) -> Density:
    """The density of a model that can be simulated.

    Raises:
        StructureError, TypeError: as `simulate`.
    """
    check_tasks("tasks", tasks, hint="after the model")
    density = Density(read(model, tasks))
    density.reading.structure.check_treatable("bm.simulate()", needs_phi=False)
    density.reading.check_sums(tasks)
    with isolated(seed=0), on_device(tasks.device), torch.no_grad():
        check_simulable(density, tasks)
        draw_study(density, tasks)
    return density


def simulate(model: Model, tasks: Tasks, *, studies: int = 1, seed: int = 0) -> Studies:
    """Studies drawn from a model with the design of given tasks, and the truth of each.

        theta ~ p(theta),   phi_i ~ p(phi | theta),   y_ij ~ p(y | x_ij, phi_i, theta)

        for study in bm.simulate(model, tasks, studies=20):
            post = bm.fit(model, study.tasks)
            post.theta["mu"].mean() - study.theta["mu"]

    They are of the density that `fit` has, or are refused: each y that is drawn is given back to
    the model, where it has to have the density that it was drawn from. Outcomes have limits
    (`bm.Censored`), masks and sizes as those of the tasks. Draws are right also where those of
    torch are not (`distributions/samplers.py`).

    Args:
        model: a Pyro function of the tasks, whose latents all have priors.
        tasks: the design: x, sizes, mask, names. Of y the shape is taken, and where the model
            reads it, and no values.
        studies: how many.
        seed: study k depends on it and on k alone.

    Returns:
        `len(found)`, `found[k]` and iteration, by which each study is drawn when it is asked for.

    Raises:
        StructureError: naming a site with a flat prior (`pyro.param`, a network's weights), a
            factor, weights, a latent that is masked, an outcome that is computed from y, or reads
            others; and as `structure`.
        TypeError: as `structure`.
        ValueError: where there is no study; on asking for one, where it has an outcome that is no
            finite number.
    """
    check_whole("simulate", "studies", studies)
    check_seed("simulate", seed)
    return Studies(simulable(model, tasks), tasks, studies, seed)
