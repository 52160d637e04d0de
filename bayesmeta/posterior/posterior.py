"""Posterior: p(theta, phi | D), and what is done with it: adapt, predict, diagnose, save, ArviZ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.adapt import adapt
from bayesmeta.draws.draws import Draws
from bayesmeta.draws.own_tasks import Own
from bayesmeta.draws.predict import Prediction, log_likelihood, log_score, predict
from bayesmeta.draws.prior_draws import prior_draws
from bayesmeta.draws.refine import Refine
from bayesmeta.draws.update import update
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.model.structure import Structure
from bayesmeta.phi.base import Phi
from bayesmeta.posterior import arviz, saving
from bayesmeta.posterior.diagnose import Diagnosis, diagnose, problems_of_theta
from bayesmeta.posterior.summary import summary
from bayesmeta.running.handlers import Model
from bayesmeta.theta.base import Fit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Posterior:
    """p(theta, phi | D) as draws.

    A point estimate is one chain, of one draw, or of equal draws where phi has several.

    Attributes:
        draws: theta and phi, and what made them.
    """

    draws: Draws

    @property
    def theta(self) -> dict[str, Tensor]:
        """Draws of the shared sites, (chain, draw, ...); after them those of what they compute.

        The latter are `pyro.deterministic` sites that read neither phi nor the plate "tasks".
        """
        return self.draws.theta_values | self.draws.computed_theta

    @property
    def phi(self) -> dict[str, Tensor]:
        """Draws of the sites of each task, (chain, draw, tasks, ...), deterministic ones last.

        Latents in the plate "data" are among them, (chain, draw, tasks, data, ...), NaN where there
        is no datapoint, or the model masks the latent.

        Among the latter are those that read phi outside the plate, as a maximum over the tasks:
        (chain, draw, ...), and after `adapt` that of the new tasks.

        Where the theta strategy did not infer phi itself, this waits until it is first asked for.
        """
        has_data = bool(self.tasks.mask.any())
        names = (*self.structure.phi, *(self.structure.local if has_data else ()))
        return {name: self.draws.values[name] for name in names} | self.draws.computed_phi

    @property
    def probabilities(self) -> Mapping[str, Tensor]:
        """Of the values of discrete latents at each draw: p(z_i = value | phi_i, theta, D_i).

        They were summed out in inference. By site: (chain, draw, tasks, values), and of latents in
        the plate "data" (chain, draw, tasks, data, values), NaN on padding; the values are in the
        order of the distribution's `enumerate_support()`. `phi` has draws of them.
        """
        return self.draws.chances

    @property
    def tasks(self) -> Tasks:
        """The tasks whose phi this posterior holds."""
        return self.draws.tasks

    @property
    def structure(self) -> Structure:
        """The model as it was read."""
        return self.draws.structure

    @property
    def stats(self) -> Mapping[str, Tensor]:
        """What the sampler tells of each draw, (chain, draw)."""
        return self.fit.stats

    @property
    def phi_stats(self) -> Mapping[str, Tensor]:
        """What the phi strategy tells of each draw and task, (chain, draw, tasks, ...).

        Of FineTune "loss", at some twenty steps of each stage; of PostHocLaplace also "scale"; of
        tasks that were refined "pareto_k", and whether that was a reason to "rerun" them.
        """
        return self.draws.told

    @property
    def losses(self) -> Tensor:
        """The loss at each training step; empty for samplers."""
        return self.fit.losses

    @property
    def validation(self) -> Tensor:
        """After how many steps the validation tasks were scored, and their loss; (checks, 2)."""
        return self.fit.validation

    @property
    def seconds(self) -> Mapping[str, float]:
        """What the parts of the fit took, which are all of it.

        They are "read" (the model, with checks), and for samplers "pilot", "capture", "compile"
        (0 where cached) and "sample"; "rest" is what remains.
        """
        return self.fit.seconds

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was chosen automatically, and why."""
        return self.fit.notes

    @property
    def fit(self) -> Fit:
        """What the theta strategy found, on the unconstrained scale."""
        return self.draws.fit

    @property
    def strategy(self) -> Phi:
        """The phi strategy, which `adapt` uses for new tasks."""
        return self.draws.strategy

    @property
    def is_point(self) -> bool:
        """Whether theta is a point estimate."""
        return self.draws.is_point

    @property
    def seed(self) -> int:
        """From which all further randomness (predict, adapt) derives."""
        return self.draws.seed

    @property
    def density(self) -> Density:
        """The model's density."""
        return self.draws.density

    @property
    def free_phi(self) -> Tensor:
        """Draws of unconstrained phi, (chain, draw, tasks, d_phi)."""
        return self.draws.free_phi

    @property
    def log_weights(self) -> Tensor | None:
        """log p(phi_i, D_i | theta) - log q(phi_i | theta) at each draw, (chain, draw, tasks).

        None where phi was not drawn from a fitted q. `diagnose` judges each task by them.
        """
        return self.draws.log_weights

    @property
    def centred(self) -> Density:
        """The density with every site of phi on its own scale."""
        return self.draws.centred

    @property
    def centred_phi(self) -> Tensor:
        """Draws of unconstrained phi that do not depend on columns, as noncentred ones do."""
        return self.draws.centred_phi

    def adapt(
        self,
        tasks: Tasks,
        *,
        phi: Phi | None = None,
        refine: Refine | None = None,
        seed: int | None = None,
    ) -> Posterior:
        """The posterior of phi for tasks never seen: p(theta | D) p(phi_new | theta, D_new).

        Theta is what it was: it does not learn from the new tasks. A task without datapoints gets
        its prior given theta.

        Args:
            tasks: the new tasks with their support.
            phi: another phi strategy than the fit's.
            refine: where phi is amortised, how to improve on one pass of the network; the
                posterior's notes say for how many tasks that did not suffice.
            seed: the source of randomness; None derives it from the fit's. A task's draws depend
                on it and on the task's name, not on the tasks beside it.

        Raises:
            StructureError: where the model does not fit the new tasks.
            TypeError: where tasks are no Tasks, phi is no strategy, or refine is given to one that
                has no network.
        """
        check_seed("adapt", seed, or_none=True)
        return Posterior(adapt(self.draws, tasks, phi=phi, refine=refine, seed=seed))

    def update(self, tasks: Tasks, *, seed: int | None = None, progress: bool = True) -> Posterior:
        """Theta learns from further tasks too, without another fit: p(theta, phi | D, D_new).

            p(theta | D, D_new)  is  p(theta | D) prod_i p(D_new,i | theta), normalised

        so that draws of theta are weighed by the evidence of the new tasks, phi integrated out as
        the fit did; after phi=Joint() in closed form or by Laplace's method with importance
        weights. The weights are Pareto-smoothed (Vehtari et al. 2024), and draws picked by them, in
        order: one of large weight is there several times in a row. Where too few count, theta is
        sampled anew by NUTS, from those that were picked; notes say which way was taken. The result
        is as right as the draws were: those of a Gaussian keep its error, and what `diagnose` had
        against them it says again.

        It holds all tasks, or the new ones alone where those before are not known, as after
        loading. Tasks without names, as those of arrays, are taken for others than those before,
        and numbered on.

        Args:
            tasks: new ones, with all their datapoints; further datapoints of a task that was known
                are none.
            seed: the source of randomness; None derives it from the fit's.
            progress: whether to show progress where theta is sampled.

        Raises:
            StructureError: where theta is a point, or there is none, or phi cannot be integrated
                out.
            TasksError: for tasks without outcomes, with a query, or that theta has learned from,
                by their datapoints, or by their names.
            TypeError: where tasks are no Tasks.
        """
        check_seed("update", seed, or_none=True)
        before = problems_of_theta(self.draws)
        return Posterior(update(self.draws, tasks, before, seed=seed, progress=progress))

    def predict(
        self,
        tasks: Tasks | Own = Own.TASKS,
        *,
        outcome: str | None = None,
        repeats: int = 1,
        seed: int | None = None,
    ) -> Prediction:
        """Outcomes of these tasks at the inputs given, (chain, draw, tasks, data); y is not read.

        Several outcomes are predicted one by one; with the same seed their draws belong together.

        Args:
            tasks: inputs of the posterior's tasks, or of some of them; by default its own.
            outcome: which observed site; None is for a model that has one.
            repeats: outcomes for each draw of theta and phi, side by side along draw; more than 1
                is for point estimates.
            seed: the source of randomness; None derives it from the fit's.

        Raises:
            TasksError: where the tasks are others than the posterior's: adapt to them first.
            StructureError: where the model has several outcomes, or none of that name.
        """
        check_whole("predict", "repeats", repeats)
        check_seed("predict", seed, or_none=True)
        return predict(self.draws, tasks, outcome=outcome, repeats=repeats, seed=seed)

    def log_likelihood(
        self, tasks: Tasks | Own = Own.TASKS, *, outcome: str | None = None
    ) -> Tensor:
        """log p(y_ij | x_ij, phi_i, theta) at each draw, (chain, draw, tasks, data).

        It is 0 on padding, and where the model masks the outcome. Weights (`poutine.scale`) are
        left out: they say how much a datapoint counts in the fit, not how likely it is.

        Args:
            tasks: outcomes of the posterior's tasks, or of some of them; by default its own.
            outcome: one observed site; None takes all of a datapoint together, with the model's
                factors in the plate "data", as of censored outcomes.

        Raises:
            TasksError: where the tasks are others than the posterior's, or have no y.
            StructureError: where the model does not know such outcomes.
        """
        return log_likelihood(self.draws, tasks, outcome=outcome)

    def log_score(self, tasks: Tasks | Own = Own.TASKS, *, outcome: str | None = None) -> Tensor:
        """log of the mean over draws of p(y_ij | x_ij, phi_i, theta), (tasks, data).

        Cells hold NaN where nothing was observed, padding or masked in the model: take nanmean.

        Args:
            tasks, outcome: as of `log_likelihood`.
        """
        return log_score(self.draws, tasks, outcome=outcome)

    def summary(self, kind: str = "all") -> pd.DataFrame:
        """ArviZ's table of theta and phi; for a point estimate, a table of its values.

        The interval is from the 3% to the 97% quantile of the draws, whichever ArviZ is installed;
        its columns are "eti_3%" and "eti_97%" with ArviZ 0.23, "eti94_lb" and "eti94_ub" with 1.x.

        Args:
            kind: "all"; "stats", means, sds and intervals; or "diagnostics", ESS, R-hat and Monte
                Carlo errors.
        """
        return summary(self.draws, kind)

    def diagnose(self) -> Diagnosis:
        """Whether the draws can be trusted, in words to act on."""
        return diagnose(self.draws)

    def save(self, folder: str | Path) -> None:
        """Write it to a folder, for `bm.load`: theta, phi and what was trained, but no x and no y,
        of which there is a digest.

        Names of tasks are kept, as phi belongs to them, and of those that theta was fitted to:
        rename tasks whose names are secret.

        Raises:
            CheckpointError: where it cannot be written, or the strategy holds a function.
        """
        saving.save(self.draws, Path(folder))

    def to_arviz(self) -> Any:
        """What the installed ArviZ works on, with task names as coordinates."""
        return arviz.to_arviz(self.draws)

    def __repr__(self) -> str:
        chains, draws = self.fit.theta.shape[:2]
        return (
            f"Posterior({chains} chains of {draws} draws; "
            f"theta: {', '.join(self.structure.theta)}; "
            f"phi: {', '.join(self.structure.phi) or 'none'}; {self.tasks.num_tasks} tasks)"
        )


def load(folder: str | Path, model: Model, tasks: Tasks | None = None) -> Posterior:
    """A posterior that was saved: adapt it to new tasks, or predict more of its own by name.

    Sites, distributions and parents of the model are compared with those of the fit. Constants in
    it, such as a prior's scale, are not: they are the model's that is given.

    Args:
        folder: what `Posterior.save` was given.
        model: the function that it was fitted with.
        tasks: the data that it was fitted to, which the file does not hold, but knows by a digest:
            what asks for them, as `bm.leave_one_task_out`, `update` and ArviZ's groups of data,
            then works as before it was saved.

    Raises:
        FileNotFoundError: where nothing was saved there.
        TasksError: where tasks are others.
        CheckpointError: where the file is damaged, or of another model, or its strategy has a part
            that is not known here.
    """
    return Posterior(saving.restored(folder, model, tasks))


def prior(model: Model, tasks: Tasks, *, draws: int = 500, seed: int = 0) -> Posterior:
    """Draws of theta and phi from the prior, as a posterior that has seen nothing.

    Its `predict` is the prior predictive distribution of the tasks' inputs. What lies nearer to the
    end of its support than floats go is the nearest float: half of Gamma(.001, 1) is 2.2e-308.

    Raises:
        StructureError, TypeError: as `structure`.
    """
    check_whole("prior", "draws", draws)
    check_seed("prior", seed)
    reading = read(model, tasks)
    reading.structure.check_treatable("bm.prior()", needs_phi=False)
    return Posterior(prior_draws(Density(reading), tasks, draws, seed))
