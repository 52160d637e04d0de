"""bayesmeta: write the plates once, in Pyro; choose what to do with theta and with phi.

    import bayesmeta as bm

    post = bm.fit(model, tasks, theta=bm.NUTS(), phi=bm.Joint())
    post.theta["mu"]                    # (chain, draw)
    new = post.adapt(new_tasks)         # phi of tasks never seen
    new.predict(query).mean             # (tasks, data)

A hierarchical model p(theta) prod_i p(phi_i | theta) prod_j p(y_ij | x_ij, phi_i) is a plain Pyro
function of the tasks, with plates "tasks" (dim=-2) and "data" (dim=-1). Latents outside "tasks" are
theta, those inside are phi.
"""

from bayesmeta import information, nets
from bayesmeta.bounds import ELBO, ImportanceWeighted, Predictive, Simulated
from bayesmeta.calibration import Calibration, calibration
from bayesmeta.capture import CaptureError
from bayesmeta.checkpoint import CheckpointError
from bayesmeta.checks import StructureError
from bayesmeta.columns import TasksError
from bayesmeta.compare import Comparison, compare
from bayesmeta.convolutional import Convolutional
from bayesmeta.curvature import Hessian
from bayesmeta.encoders import Attentive, DeepSet, Encoder
from bayesmeta.episodes import Classes
from bayesmeta.fit import fit
from bayesmeta.gap import amortisation_gap
from bayesmeta.gauss_newton import GaussNewton
from bayesmeta.graph import Graph, graph
from bayesmeta.guides import Delta, DiagonalNormal, FullNormal
from bayesmeta.learning_curve import LearningCurve, learning_curve
from bayesmeta.leave_out import TaskScores, leave_one_task_out
from bayesmeta.phi import (
    HMC,
    Amortised,
    Exact,
    FineTune,
    GradientSteps,
    Joint,
    Laplace,
    Mode,
    PostHocLaplace,
    ReptileSteps,
    SteinParticles,
    VariationalSteps,
)
from bayesmeta.posterior import Posterior
from bayesmeta.predict import Prediction
from bayesmeta.presets import (
    ANIL,
    FOMAML,
    IMAML,
    LLAMA,
    MAML,
    R2D2,
    VERSA,
    ALPaCA,
    AttentiveNeuralProcess,
    ConditionalNeuralProcess,
    ConvolutionalNeuralProcess,
    MetaSGD,
    NeuralProcess,
    Pair,
    ProtoNet,
    Reptile,
)
from bayesmeta.prior import prior
from bayesmeta.refine import Refine
from bayesmeta.saving import load
from bayesmeta.schedule import Adam
from bayesmeta.search import search
from bayesmeta.set_transformer import SetTransformer
from bayesmeta.spline_flow import SplineFlow
from bayesmeta.stages import Full, Gradual, Probe, Stage, Surgical
from bayesmeta.structure import Structure, structure
from bayesmeta.tasks import Tasks
from bayesmeta.theta import NUTS, Fixed, FullRank, Gaussian, LowRank, MeanField, Point
from bayesmeta.training import TrainingError
from bayesmeta.validation import cross_validate

__all__ = [
    "ANIL",
    "ELBO",
    "FOMAML",
    "HMC",
    "IMAML",
    "LLAMA",
    "MAML",
    "NUTS",
    "R2D2",
    "VERSA",
    "ALPaCA",
    "Adam",
    "Amortised",
    "Attentive",
    "AttentiveNeuralProcess",
    "Calibration",
    "CaptureError",
    "CheckpointError",
    "Classes",
    "Comparison",
    "ConditionalNeuralProcess",
    "Convolutional",
    "ConvolutionalNeuralProcess",
    "DeepSet",
    "Delta",
    "DiagonalNormal",
    "Encoder",
    "Exact",
    "FineTune",
    "Fixed",
    "Full",
    "FullNormal",
    "FullRank",
    "GaussNewton",
    "Gaussian",
    "GradientSteps",
    "Gradual",
    "Graph",
    "Hessian",
    "ImportanceWeighted",
    "Joint",
    "Laplace",
    "LearningCurve",
    "LowRank",
    "MeanField",
    "MetaSGD",
    "Mode",
    "NeuralProcess",
    "Pair",
    "Point",
    "PostHocLaplace",
    "Posterior",
    "Prediction",
    "Predictive",
    "Probe",
    "ProtoNet",
    "Refine",
    "Reptile",
    "ReptileSteps",
    "SetTransformer",
    "Simulated",
    "SplineFlow",
    "Stage",
    "SteinParticles",
    "Structure",
    "StructureError",
    "Surgical",
    "TaskScores",
    "Tasks",
    "TasksError",
    "TrainingError",
    "VariationalSteps",
    "amortisation_gap",
    "calibration",
    "compare",
    "cross_validate",
    "fit",
    "graph",
    "information",
    "learning_curve",
    "leave_one_task_out",
    "load",
    "nets",
    "prior",
    "search",
    "structure",
]


def __dir__() -> list[str]:
    return sorted(__all__)
