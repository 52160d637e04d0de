"""The contract of a theta strategy: what is done with the shared latent theta."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.phi.base import Phi
from bayesmeta.training.fit_options import FitOptions


@dataclass(frozen=True, eq=False)
class LearnedFrom:
    """What theta was fitted to, by which it is known whom it has seen.

    Attributes:
        tasks: with their query; None of a posterior that was loaded, which holds no data.
        names: of the tasks; None where these are numbers, which say nothing.
    """

    tasks: Tasks | None
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, tasks: Tasks) -> LearnedFrom:
        """These tasks."""
        return cls(tasks, tasks.names if tasks.origin is None else None)


@dataclass(frozen=True)
class Fit:
    """What a theta strategy found, on the unconstrained scale of its density.

    Attributes:
        density: the density with the parameterisation that was used.
        tasks: the tasks in the dtype that was used.
        theta: draws (chain, draw, d_theta).
        phi: draws (chain, draw, tasks, d_phi); None where the phi strategy infers them, which waits
            until they are asked for.
        states: joint values of discrete latents, (chain, draw, tasks, any), where these are known
            without the data.
        stats: what the sampler tells of each draw, (chain, draw).
        told: what the phi strategy tells of each draw and task, (chain, draw, tasks, ...).
        state: what was trained of the phi strategy, as its `start` lays it out.
        losses: the loss at each training step; empty for samplers.
        validation: (checks, 2): after how many steps validation tasks were scored, and their loss.
        log_weights: log p(phi_i, D_i | theta) - log q(phi_i | theta) at each draw, (chain, draw,
            tasks), where q was fitted; else None.
        log_q: log q(theta) at each draw, (chain, draw), where q was fitted; else None.
        seconds: what the parts took: "read" (the model, with checks); of samplers "pilot",
            "capture", "compile" (0 where cached) and "sample"; and the "rest".
        notes: sentences for the user on what was chosen and why.
        doubts: sentences on why theta has not converged; none where it has, None where that was
            not looked at.
        pareto_k: of the weights by which draws of theta were picked; None where there are none.
        learned_from: the tasks that theta, or what was trained with it, was fitted to; None where
            it has learned from none.
        is_adapted: whether phi was inferred afterwards, given theta.
        is_prior: whether theta and phi were drawn from the prior.
    """

    density: Density
    tasks: Tasks
    theta: Tensor
    phi: Tensor | None
    states: Tensor | None = None
    stats: Mapping[str, Tensor] = field(default_factory=dict)
    told: Mapping[str, Tensor] = field(default_factory=dict)
    state: tuple[Tensor, ...] = ()
    losses: Tensor = field(default_factory=lambda: torch.empty(0))
    validation: Tensor = field(default_factory=lambda: torch.empty(0, 2))
    log_weights: Tensor | None = None
    log_q: Tensor | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] | None = None
    pareto_k: float | None = None
    learned_from: LearnedFrom | None = None
    is_adapted: bool = False
    is_prior: bool = False


@dataclass(frozen=True)
class Theta(ABC):
    """What is done with the shared latent theta. A strategy is frozen hyperparameters.

    Attributes:
        is_point: whether the result is a point estimate: one chain of one draw.
        trains: whether it trains step by step, so that there are parameters to validate and store.
        infers: whether theta is inferred, and not given.
    """

    is_point: ClassVar[bool] = False
    infers: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """What it is called in tables and pictures."""
        return type(self).__name__

    @abstractmethod
    def fit(self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions) -> Fit:
        """Infer theta from log p(theta) + sum_i log_evidence_i, or with phi where phi is joint.

        Elsewhere `Fit.phi` is None: the posterior infers phi when it is first asked for.
        """
