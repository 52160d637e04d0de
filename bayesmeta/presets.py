"""Names that people know, each a pair of strategies: `bm.fit(model, tasks, **bm.MAML())`."""

from __future__ import annotations

from typing import TypedDict

from bayesmeta.amortisation.bounds import Predictive
from bayesmeta.amortisation.convolutional import Convolutional
from bayesmeta.amortisation.guides import Delta, DiagonalNormal
from bayesmeta.amortisation.set_transformer import SetTransformer
from bayesmeta.data.arguments import check_number, check_whole
from bayesmeta.phi import Amortised, Exact, GradientSteps, Laplace, Mode, Phi, ReptileSteps
from bayesmeta.theta import Point, Theta
from bayesmeta.training.adam import Adam


class Pair(TypedDict):
    """What is done with theta and what with phi, as `fit` takes them."""

    theta: Theta
    phi: Phi


def MAML(
    steps: int = 5,
    inner_lr: float = 0.01,
    *,
    batch_size: int | None = None,
    adam: Adam | None = None,
) -> Pair:
    """Model-agnostic meta-learning (Finn, Abbeel & Levine 2017)."""
    check_number("MAML", "inner_lr", inner_lr, above=0)
    return _train(GradientSteps(steps, inner_lr), batch_size, adam)


def FOMAML(
    steps: int = 5,
    inner_lr: float = 0.01,
    *,
    batch_size: int | None = None,
    adam: Adam | None = None,
) -> Pair:
    """MAML with the first-order outer gradient (Finn, Abbeel & Levine 2017, section 5.2)."""
    check_number("FOMAML", "inner_lr", inner_lr, above=0)
    return _train(GradientSteps(steps, inner_lr, first_order=True), batch_size, adam)


def MetaSGD(
    steps: int = 1,
    inner_lr: float = 0.01,
    *,
    batch_size: int | None = None,
    adam: Adam | None = None,
) -> Pair:
    """MAML with a learned rate for each coordinate of phi (Li, Zhou, Chen & Li 2017)."""
    return _train(GradientSteps(steps, inner_lr, learn_lr=True), batch_size, adam)


def ANIL(
    steps: int = 5,
    inner_lr: float = 0.01,
    *,
    batch_size: int | None = None,
    adam: Adam | None = None,
) -> Pair:
    """MAML of the last layer alone (Raghu, Raghu, Bengio & Vinyals 2020).

    What makes it ANIL is the model, whose phi is the head and nothing else: see models.anil.
    """
    check_number("ANIL", "inner_lr", inner_lr, above=0)
    return _train(GradientSteps(steps, inner_lr), batch_size, adam)


def ProtoNet(
    shots: int | None = None, *, batch_size: int | None = None, adam: Adam | None = None
) -> Pair:
    """Classes by the mean of their embeddings (Snell, Swersky & Zemel 2017).

    On the model of Gaussian class means, models.prototypes: from 0 one gradient step of size
    1 / n_k lands on the mean of the n_k examples of class k, that many as each task has of each.

    Args:
        shots: says nothing any more; it was the number of examples of every class.
        batch_size, adam: as of bm.Point.
    """
    check_whole("ProtoNet", "shots", shots, or_none=True)
    return _train(GradientSteps(1, lr=None), batch_size, adam)


def Reptile(
    steps: int = 5,
    inner_lr: float = 0.01,
    *,
    batch_size: int | None = None,
    adam: Adam | None = None,
) -> Pair:
    """Theta moves towards where each task's steps end (Nichol, Achiam & Schulman 2018)."""
    return _train(ReptileSteps(steps, inner_lr), batch_size, adam)


def IMAML(*, batch_size: int | None = None, adam: Adam | None = None) -> Pair:
    """Phi at its mode, with implicit gradients (Rajeswaran, Finn, Kakade & Levine 2019)."""
    return _train(Mode(), batch_size, adam)


def LLAMA(*, draws: int = 1000, batch_size: int | None = None, adam: Adam | None = None) -> Pair:
    """Phi integrated out by Laplace's method (Grant, Finn, Levine, Darrell & Griffiths 2018).

    Networks train best without query=, on all data of a task, for log p(D_i | theta) itself.
    """
    return _train(Laplace(draws), batch_size, adam)


def ALPaCA(*, draws: int = 1000, batch_size: int | None = None, adam: Adam | None = None) -> Pair:
    """Phi, a Bayesian last layer, integrated out exactly (Harrison, Sharma & Pavone 2018)."""
    return _train(Exact(draws), batch_size, adam)


def R2D2(*, draws: int = 1000, batch_size: int | None = None, adam: Adam | None = None) -> Pair:
    """Phi, a ridge regression of the labels, in closed form (Bertinetto et al. 2019).

    What makes it R2-D2 is the model, models.ridge, which says where it differs from the paper.
    """
    return _train(Exact(draws), batch_size, adam)


def NeuralProcess(
    *, particles: int = 8, draws: int = 50, batch_size: int | None = None, adam: Adam | None = None
) -> Pair:
    """A latent of each function, amortised (Garnelo et al. 2018b), on models.neural_process.

    Trained by the query's predictive likelihood (Foong et al. 2020), not by the paper's bound.
    """
    phi = Amortised(guide=DiagonalNormal(), bound=Predictive(particles), draws=draws)
    return _train(phi, batch_size, adam)


def ConditionalNeuralProcess(*, batch_size: int | None = None, adam: Adam | None = None) -> Pair:
    """phi is a function of the support (Garnelo et al. 2018a), on models.neural_process."""
    phi = Amortised(guide=Delta(), bound=Predictive(1), draws=1)
    return _train(phi, batch_size, adam)


def VERSA(
    *,
    particles: int = 10,
    draws: int = 100,
    batch_size: int | None = None,
    adam: Adam | None = None,
) -> Pair:
    """A last layer, amortised (Gordon, Bronskill, Bauer, Nowozin & Turner 2019).

    What makes it VERSA is the model, whose phi is the head: models.last_layer or models.anil. The
    encoder reads x itself, not the features that the model makes of it as in the paper.
    """
    phi = Amortised(guide=DiagonalNormal(), bound=Predictive(particles), draws=draws)
    return _train(phi, batch_size, adam)


def AttentiveNeuralProcess(
    slots: int = 16, slot: int = 16, *, batch_size: int | None = None, adam: Adam | None = None
) -> Pair:
    """Datapoints that attend to each other (Kim et al. 2019), read into slots (Feng et al. 2023).

    On models.attentive_process, with as many slots and numbers in each.
    """
    for name, count in (("slots", slots), ("slot", slot)):
        check_whole("AttentiveNeuralProcess", name, count)
    encoder = SetTransformer(slots * slot, slots=slots)
    phi = Amortised(encoder, Delta(), Predictive(1), draws=1, layers=0)
    return _train(phi, batch_size, adam)


def ConvolutionalNeuralProcess(
    inputs: int = 1,
    grid: int = 64,
    maps: int = 8,
    reach: float = 2.0,
    width: int = 32,
    *,
    batch_size: int | None = None,
    adam: Adam | None = None,
) -> Pair:
    """Datapoints on a grid, read by convolutions (Gordon et al. 2020).

    On models.convolutional_process, with as many inputs, nodes and maps, and the same reach.
    """
    for name, count in (("inputs", inputs), ("grid", grid), ("maps", maps)):
        check_whole("ConvolutionalNeuralProcess", name, count)
    encoder = Convolutional(maps * grid**inputs, inputs, grid, reach, width)
    phi = Amortised(encoder, Delta(), Predictive(1), draws=1, layers=None)
    return _train(phi, batch_size, adam)


def _train(phi: Phi, batch_size: int | None, adam: Adam | None) -> Pair:
    return {"theta": Point(batch_size=batch_size, adam=adam), "phi": phi}
