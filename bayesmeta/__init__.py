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

from torch.distributions import Distribution as _Distribution

# Pyro, on its first import, switches torch's validation of distributions on, and zuko off: that is
# the user's choice, or that of whatever they imported before.
_validates = _Distribution._validate_args

from bayesmeta import information, nets
from bayesmeta.amortisation import (
    ELBO,
    Attentive,
    Convolutional,
    DeepSet,
    Delta,
    DiagonalNormal,
    Encoder,
    FullNormal,
    ImportanceWeighted,
    NormalMixture,
    Predictive,
    SetTransformer,
    Simulated,
    SplineFlow,
)
from bayesmeta.capturing import CaptureError
from bayesmeta.data import Classes, Tasks, TasksError
from bayesmeta.distributions import Censored
from bayesmeta.draws import Prediction, Refine
from bayesmeta.evaluation import (
    Calibration,
    Comparison,
    LearningCurve,
    PredictiveCalibration,
    amortisation_gap,
    calibration,
    compare,
    cross_validate,
    learning_curve,
    search,
)
from bayesmeta.fine_tuning import Full, Gradual, Probe, Stage, Surgical
from bayesmeta.fit import fit
from bayesmeta.formula import Formula, FormulaError, families, formula
from bayesmeta.graph import Graph, graph
from bayesmeta.influence import TaskScores, leave_one_task_out
from bayesmeta.model import Structure, StructureError, structure
from bayesmeta.phi import (
    HMC,
    Amortised,
    Exact,
    FineTune,
    GradientSteps,
    Joint,
    Laplace,
    Mode,
    Phi,
    PostHocLaplace,
    ReptileSteps,
    SteinParticles,
    VariationalSteps,
)
from bayesmeta.posterior import Posterior, load, prior
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
from bayesmeta.simulation import Studies, Study, simulate
from bayesmeta.task_level import GaussNewton, Hessian
from bayesmeta.theta import (
    NUTS,
    Fixed,
    FullRank,
    Gaussian,
    Importance,
    LowRank,
    MeanField,
    Point,
    Theta,
)
from bayesmeta.training import Adam, CheckpointError, TrainingError
from bayesmeta.trust import SBC, Price, Sensitivity, price, sbc, sensitivity

_Distribution.set_default_validate_args(_validates)

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
    "SBC",
    "VERSA",
    "ALPaCA",
    "Adam",
    "Amortised",
    "Attentive",
    "AttentiveNeuralProcess",
    "Calibration",
    "CaptureError",
    "Censored",
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
    "Formula",
    "FormulaError",
    "Full",
    "FullNormal",
    "FullRank",
    "GaussNewton",
    "Gaussian",
    "GradientSteps",
    "Gradual",
    "Graph",
    "Hessian",
    "Importance",
    "ImportanceWeighted",
    "Joint",
    "Laplace",
    "LearningCurve",
    "LowRank",
    "MeanField",
    "MetaSGD",
    "Mode",
    "NeuralProcess",
    "NormalMixture",
    "Pair",
    "Phi",
    "Point",
    "PostHocLaplace",
    "Posterior",
    "Prediction",
    "Predictive",
    "PredictiveCalibration",
    "Price",
    "Probe",
    "ProtoNet",
    "Refine",
    "Reptile",
    "ReptileSteps",
    "Sensitivity",
    "SetTransformer",
    "Simulated",
    "SplineFlow",
    "Stage",
    "SteinParticles",
    "Structure",
    "StructureError",
    "Studies",
    "Study",
    "Surgical",
    "TaskScores",
    "Tasks",
    "TasksError",
    "Theta",
    "TrainingError",
    "VariationalSteps",
    "amortisation_gap",
    "calibration",
    "compare",
    "cross_validate",
    "families",
    "fit",
    "formula",
    "graph",
    "information",
    "learning_curve",
    "leave_one_task_out",
    "load",
    "nets",
    "price",
    "prior",
    "sbc",
    "search",
    "sensitivity",
    "simulate",
    "structure",
]


def __dir__() -> list[str]:
    return sorted(__all__)
