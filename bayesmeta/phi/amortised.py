"""Amortised: one network reads a whole dataset and gives the posterior of its phi."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bayesmeta.amortisation.bounds import ELBO, Bound, Predictive, tamed
from bayesmeta.amortisation.encoder_rows import (
    in_units,
    names_of,
    range_of,
    rows_of,
    units_of,
)
from bayesmeta.amortisation.encoders import DeepSet, Encoder
from bayesmeta.amortisation.guides import Anchor, Delta, FullNormal, Guide, TaskPosterior
from bayesmeta.amortisation.simulated_phi import check_simulated, simulated_phi
from bayesmeta.amortisation.weighted_draws import WeightedDraws, mixed
from bayesmeta.capturing.capture import capture, over_draws
from bayesmeta.data.arguments import check_whole, check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import normal
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.prior import theta_sd, theta_start
from bayesmeta.nets.net import Net
from bayesmeta.nets.perceptron import perceptron
from bayesmeta.phi.base import Phi
from bayesmeta.phi.prior_draws import with_prior_draws
from bayesmeta.task_level.curvature import log_density, parts_of
from bayesmeta.task_level.particles import joint_of, score_of
from bayesmeta.task_level.scored_density import ScoredDensity, by_scores

_MOST_THETA = 32
# Of a posterior sd, so that the network sees little of theta at first: where it began with much,
# theta was drawn to where a network that has not learned yet does least harm.
_SEEN = 0.1
# The share of datapoints outside of what was trained on, and how far, in its range.
_SLACK = 0.1


class _State(NamedTuple):
    """What is trained, and the units in which it works, which stay as they are at the start."""

    head: Tensor
    loosened: Tensor
    rows: Tensor
    centre: Tensor
    width: Tensor
    theta: Tensor


@dataclass(frozen=True)
class Amortised(Phi):
    """q(phi_i | D_i, theta) by one network for all tasks, of any size (Kingma & Welling 2014).

        q(z_i | D_i, theta) = guide(head(encoder({(x_ij, y_ij)}_j), n_i, theta)),  phi_i = T(z_i)

    T makes the prior p(phi_i | theta) of standard normal z_i, in the model's order of sites
    (`distributions/normal_scores`), and with no data every guide but a point is N(0, I): a task
    without datapoints has its prior exactly, however its sites depend on each other.

    All columns of x, in alphabetical order, and y are read, standardised, with the tasks' mask:
    order and padding change nothing. A y that names classes is read as their indicators. Adapting
    to a task is one pass of the network; `diagnose` names tasks whose data are outside of the range
    that it was trained on. The log evidence is what `bound` makes of draws of q, by which theta and
    the network are trained together. A network learns best with a smaller rate than theta alone:
    bm.Adam(lr=3e-3) or less.

    Attributes:
        encoder: of a dataset to a vector.
        guide: the family of q.
        bound: what is maximised; None is ELBO() for tasks without a query, Predictive() for others.
        draws: draws of phi at a point estimate of theta; else there is one for each draw of theta.
        candidates: of q for each draw, which is picked among them by importance weights where their
            Pareto k is at most 0.7 (Rubin 1987), so that q need not be of the posterior's shape;
            four times as many where each draw has a theta of its own. 1 leaves draws as q has them,
            and so does bm.Predictive(), by which q is no posterior but what predicts.
        width: hidden units of the head.
        layers: hidden layers of the head; 0 makes it linear, for an encoder that did the work; None
            is no head: the encoding is what the guide takes.
        sees_theta: whether the head reads theta; None: where theta has at most 32 numbers. The
            guide's prior is given theta in any case.
        mixed_precision: whether the network multiplies float32 matrices in bfloat16, as a GPU does
            faster (Micikevicius et al. 2018); model, guide and bound stay in float32.
    """

    encoder: Encoder = field(default_factory=DeepSet)
    guide: Guide = field(default_factory=FullNormal)
    bound: Bound | None = None
    draws: int = 1000
    candidates: int = 4
    width: int = 64
    layers: int | None = 2
    sees_theta: bool | None = None
    mixed_precision: bool = False

    # A network learns as much from 256 tasks a step as from 2,000, in a sixth of the time.
    tasks_a_step: ClassVar[int | None] = 256
    remedy: ClassVar[str] = (
        "adapt(tasks, refine=bm.Refine()) improves on phi task by task and runs again what stays "
        "above; theta, where it was fitted with this q, may be off with it: train longer, on more "
        "tasks, or with guide=bm.SplineFlow() or bound=bm.ImportanceWeighted(), or compare with "
        "theta=bm.NUTS(), phi=bm.Joint()"
    )

    def __post_init__(self) -> None:
        for name, kind, example in (
            ("encoder", Encoder, "bm.DeepSet()"),
            ("guide", Guide, "bm.FullNormal()"),
            ("bound", Bound | None, "bm.ELBO()"),
        ):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"Amortised got {name}={getattr(self, name)!r}; that is no {name}: give "
                    f"{name}={example}"
                )
        if self.layers is None and self.sees_theta:
            raise ValueError(
                "Amortised got layers=None and sees_theta=True, but without a head nothing reads "
                "theta; give layers=0, a linear head"
            )
        check_wholes(self, "draws", "candidates", "width")
        check_whole(self, "layers", self.layers, least=0, or_none=True)

    @property
    def label(self) -> str:
        """With the family, as "Amortised(FullNormal)": they differ in what they cannot hold."""
        return f"Amortised({type(self.guide).__name__})"

    @property
    def averages(self) -> bool:
        """As the bound does: without a query, `Predictive` scores q by the data that q read."""
        return self.bound is None or self.bound.sees_query

    def check_new(self, density: Density, seen: Tasks, new: Tasks) -> None:
        """Refuse other columns than the network has learned to read."""
        phi = density.structure.phi
        wanted, given = (sorted(set(tasks.x).difference(phi)) for tasks in (seen, new))
        if wanted != given:
            raise StructureError(
                f"the new tasks have the columns {', '.join(given) or '(none)'}, but the network "
                f"was trained on {', '.join(wanted) or '(none)'}, all of which it reads; give "
                "these, or adapt with another strategy, such as phi=bm.HMC()"
            )

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse a bound that the guide cannot serve, and an encoding that it cannot take."""
        numbers = self.guide.numbers(density.d_phi)
        if self.layers is None and self.encoder.features != numbers:
            raise StructureError(
                f"without a head (layers=None) the encoder's {self.encoder.features} features are "
                f"what {self.guide!r} takes, but for phi of {density.d_phi} numbers it takes "
                f"{numbers}; give the encoder features={numbers}, or a head"
            )
        if isinstance(self.guide, Delta) and self.chosen(tasks).sees_query:
            raise StructureError(
                "guide=bm.Delta() is a point and has no density to weigh against the prior; give a "
                "query= and bound=bm.Predictive(), or a guide such as bm.FullNormal()"
            )

    def chosen(self, tasks: Tasks) -> Bound:
        """The bound given, or the one that suits the tasks."""
        return self.bound or (ELBO() if tasks.query is None else Predictive())

    @property
    def draws_at_point(self) -> int:
        """As many as `draws`: phi is a distribution, even at a single theta."""
        return self.draws

    def start(self, density: Density, tasks: Tasks, seed: int = 0) -> list[Tensor]:
        """The network's weights, and the units of its inputs and outputs."""
        some, dtype = tasks.sample(), tasks.dtype
        # Of tasks to adapt to there is no truth.
        if self.chosen(tasks).knows_phi and set(density.structure.phi) & set(tasks.x):
            check_simulated(density, tasks)
        every = some if tasks.are_episodes else tasks
        parts = [parts_of(t, with_query=True) for t in (some, every)]
        reading = density.reading
        rows = torch.cat([units_of(parts[0], reading), range_of(parts[1], reading)])
        with torch.no_grad():
            theta = theta_start(density, tasks)
            centre, width = by_scores(density, tasks).scale(theta, some)
        # Networks are laid out here, by a seed that all share: a graph in capture would record it.
        encoder, guide, head = [self._networks(density, rows.shape[1], by) for by in (0, seed)][-1]
        state = _State(
            head=head,
            loosened=torch.zeros(2, density.d_phi),
            rows=rows,
            centre=centre.mean(0),
            width=width.mean(0),
            theta=torch.stack([theta, theta_sd(density, tasks)]),
        )
        weights = [*encoder, *guide, *state]
        return [x.to(tasks.device, dtype).clone() for x in weights]

    @property
    def trained_part(self) -> tuple[object, ...]:
        """The network and its guide: they serve any number of draws, by any bound."""
        return self.encoder, self.guide, self.width, self.layers, self.sees_theta

    def noise(
        self, density: Density, num_tasks: int, dtype: torch.dtype, generator: torch.Generator
    ) -> list[Tensor]:
        """Standard normal, (particles, tasks, d_phi)."""
        # Both bounds that None may stand for take as many particles.
        shape = ((self.bound or ELBO()).particles, num_tasks, density.d_phi)
        return [normal(shape, dtype, generator)]

    def log_evidence(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
    ) -> Tensor:
        """What the bound makes of draws of q, (tasks,)."""
        bound = self.chosen(tasks)
        parts = parts_of(tasks, with_query=bound.sees_query)
        scored = by_scores(density, tasks)
        joint, score = joint_of(scored, theta, parts), score_of(scored, theta, tasks)
        q = self.posterior(density, theta, parts, state)
        z = simulated_phi(scored, tasks)[None] if bound.knows_phi else q.draw(noise[0])
        return tamed(bound(q, z, joint, score), parts)

    def posterior(
        self,
        density: Density,
        theta: Tensor,
        parts: Sequence[Tasks],
        state: Sequence[Tensor],
    ) -> TaskPosterior:
        """q of scores z given the data of all parts together: of phi as `ScoredDensity` has it.

        Args:
            density: the model's density.
            theta: unconstrained, (d_theta,).
            parts: data of the same tasks.
            state: as `start` lays it out.
        """
        units = _State(*state[-len(_State._fields) :])
        weights = state[: -len(_State._fields)]
        cut = len(weights) - len(self.guide.start(density.d_phi))
        rows, mask = self._read(density, parts, units)
        count = mask.sum(1, keepdim=True).to(rows.dtype)
        with self._precision(rows):
            numbers = self.encoder(weights[:cut], rows, mask)
            if self.layers is not None:
                read = [numbers, count.log1p()]
                if self._sees(density):
                    middle, sd = units.theta.detach()
                    read.append((_SEEN * (theta - middle) / sd).expand(len(rows), -1))
                numbers = self._head(density)(units.head, torch.cat(read, -1)[:, None])[:, 0]
        numbers = numbers.to(rows.dtype)
        scored = by_scores(density, parts[0])
        anchor = self._anchor(scored, theta, parts[0], units)
        # The guide works where the data do, on the scale of unconstrained phi: what they say is
        # then the same for all theta where phi is normal.
        is_scored = scored.is_scored(rows)
        centre, width = units.centre.detach(), units.width.detach()
        shift = torch.where(is_scored, -anchor.mean / anchor.sd, centre)
        scale = torch.where(is_scored, 1 / anchor.sd, width)
        given = self.guide, weights[cut:], numbers, count, anchor
        return TaskPosterior(*given, shift, scale, centre, width)

    def encodings(self, density: Density, tasks: Tasks, state: Sequence[Tensor]) -> Tensor:
        """What the encoder makes of each task, (tasks, features), by which q is found."""
        units = _State(*state[-len(_State._fields) :])
        cut = len(state) - len(_State._fields) - len(self.guide.start(density.d_phi))
        with torch.no_grad():
            return self.encoder(state[:cut], *self._read(density, [tasks], units))

    def _read(
        self, density: Density, parts: Sequence[Tasks], units: _State
    ) -> tuple[Tensor, Tensor]:
        """Datapoints (tasks, data, inputs) of all parts as the encoder takes them, and the mask."""
        rows = torch.cat([rows_of(part, density.reading) for part in parts], 1)
        if units.rows.shape != (4, rows.shape[-1]):
            raise ValueError(
                "the network is of an earlier version, which read data in another way; fit again"
            )
        rows = in_units(rows, units.rows.detach(), self.encoder.places)
        return rows, torch.cat([part.mask for part in parts], 1)

    def unlike(self, density: Density, tasks: Tasks, state: Sequence[Tensor]) -> dict[str, str]:
        """By task, which of its data are outside of the range of those trained on, in words.

        Of a column that is where more than a tenth of a task's datapoints are outside, by more
        than a tenth of the range; of a task without datapoints, nothing is.
        """
        rows = rows_of(tasks, density.reading)
        low, high = _State(*state[-len(_State._fields) :]).rows[2:, : rows.shape[-1]]
        slack = _SLACK * (high - low)
        is_out = ((rows < low - slack) | (rows > high + slack)) & tasks.mask[..., None]
        is_out = is_out.sum(1) > _SLACK * tasks.sizes[:, None]
        names, found = names_of(tasks, density.reading), {}
        for task in is_out.any(1).nonzero()[:, 0].tolist():
            k = int(is_out[task].int().argmax())
            seen = rows[task, tasks.mask[task], k]
            found[tasks.names[task]] = (
                f"{names[k]} {seen.min():.3g} to {seen.max():.3g}, trained on {low[k]:.3g} to "
                f"{high[k]:.3g}"
            )
        return found

    def _anchor(self, scored: ScoredDensity, theta: Tensor, tasks: Tasks, units: _State) -> Anchor:
        """The prior given theta in the guide's units; learned where it is not known."""
        mean, sd = scored.scale(theta, tasks)
        centre, width = units.centre.detach(), units.width.detach()
        is_known = scored.is_scored(mean)
        shift, log_scale = torch.where(is_known, 0.0, units.loosened)
        return Anchor((mean - centre) / width + shift, sd / width * log_scale.exp())

    def infer(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        generator: torch.Generator,
        *,
        is_point: bool,
        state: Sequence[Tensor] = (),
    ) -> Tensor:
        """A draw of q(phi | D_i, theta) for each draw of theta."""
        noise, found = TaskNoise(generator, tasks), []
        for chunk in self._chunks(tasks, len(theta)):
            mine = noise.select(chunk)
            draws = self._draws(density, theta, tasks.select(chunk), state, is_point=is_point)
            if not self._weighs:
                found.append(draws.own(mine))
            else:
                found.append(draws.picked(draws.candidates(self.candidates, mine), mine))
        phi = torch.cat(found, dim=1)
        return with_prior_draws(density, theta, phi, tasks, noise, is_point=is_point)

    def log_weights(
        self,
        density: Density,
        theta: Tensor,
        phi: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
    ) -> Tensor | None:
        """log p(phi_i, D_i | theta) - log q(phi_i | D_i, theta), (draws, tasks), of draws of q."""
        if self._weighs or isinstance(self.guide, Delta):
            return None
        given, scored = replace(tasks, query=None), by_scores(density, tasks)
        shared = [*state, *given.tensors()]

        def one(point: Tensor, at: Tensor, *rest: Tensor) -> tuple[Tensor]:
            part = given.with_tensors(rest[len(state) :])
            q = self.posterior(density, point, [part], rest[: len(state)])
            z = scored.scores(point, at, part)
            return (log_density(scored, point, z, [part], jacobian=True) - q.log_prob(z[None])[0],)

        graph = capture(one, [theta[0], phi[0], *shared])
        return over_draws(graph, [theta, phi], shared)[0]

    def candidate_weights(
        self, density: Density, theta: Tensor, tasks: Tasks, state: Sequence[Tensor] = ()
    ) -> Tensor | None:
        """Of candidates as draws are picked from."""
        if not self._weighs:
            return None
        is_point, found = bool((theta == theta[:1]).all()), []
        noise = TaskNoise(torch.Generator().manual_seed(0), tasks)
        for chunk in self._chunks(tasks, len(theta)):
            draws = self._draws(density, theta, tasks.select(chunk), state, is_point=is_point)
            log_weights = draws.candidates(self.candidates, noise.select(chunk)).log_weights
            found.append(mixed(log_weights)[: self.candidates * len(theta)])
        return torch.cat(found, 1)

    def _draws(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor],
        *,
        is_point: bool,
    ) -> WeightedDraws:
        def q_of(point: Tensor, given: Tasks, state: Sequence[Tensor]) -> TaskPosterior:
            return self.posterior(density, point, [given], state)

        given, scored = replace(tasks, query=None), by_scores(density, tasks)
        return WeightedDraws(
            scored, given, theta, q_of, state, is_point=is_point, weighs=self._weighs
        )

    def _chunks(self, tasks: Tasks, draws: int) -> tuple[Tensor, ...]:
        """Positions of all tasks, in chunks whose encodings and candidates fit in memory."""
        return tasks.chunks(self.encoder.features * tasks.num_data + draws * self.candidates)

    @property
    def is_posterior(self) -> bool:
        """Whether q is to be the posterior; by `Predictive` it is what predicts."""
        return self.bound is None or self.bound.sees_query

    @property
    def _weighs(self) -> bool:
        """Whether draws are picked by weights: q is to be the posterior, and has a density."""
        return self.candidates > 1 and self.is_posterior and not isinstance(self.guide, Delta)

    def _precision(self, rows: Tensor) -> torch.autocast | nullcontext[None]:
        # A cache of cast weights would outlive the tracing of a step.
        if self.mixed_precision:
            return torch.autocast(rows.device.type, torch.bfloat16, cache_enabled=False)
        return nullcontext()

    def _sees(self, density: Density) -> bool:
        return density.d_theta <= _MOST_THETA if self.sees_theta is None else self.sees_theta

    def _networks(
        self, density: Density, inputs: int, seed: int
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """The weights of encoder, guide and head, drawn by a seed."""
        head = torch.zeros(0) if self.layers is None else self._head(density, seed).weights()
        return self.encoder.start(inputs, seed), self.guide.start(density.d_phi, seed), head

    def _head(self, density: Density, seed: int = 0) -> Net:
        inputs = self.encoder.features + 1 + (density.d_theta if self._sees(density) else 0)
        outputs = self.guide.numbers(density.d_phi)
        hidden = [self.width] * (self.layers or 0)
        return perceptron(inputs, *hidden, outputs, last_gain=0.01, seed=seed)
