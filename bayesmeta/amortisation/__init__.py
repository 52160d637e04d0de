"""Networks that read a whole dataset D_i and give q(phi_i | D_i, theta) in one pass.

- `encoder_rows`: a task's datapoints as rows of numbers
- `encoders`: a dataset of any size to a vector
- `set_transformer`: its datapoints attend to each other
- `convolutional`: by convolutions on a grid
- `guides`: families of q, from the encoding
- `spline_flow`: one that is not normal
- `bounds`: what it is all trained for
- `simulated_phi`: phi that simulated tasks were drawn from
"""

from bayesmeta.amortisation.bounds import ELBO, ImportanceWeighted, Predictive, Simulated
from bayesmeta.amortisation.convolutional import Convolutional
from bayesmeta.amortisation.encoders import Attentive, DeepSet, Encoder
from bayesmeta.amortisation.guides import Delta, DiagonalNormal, FullNormal
from bayesmeta.amortisation.set_transformer import SetTransformer
from bayesmeta.amortisation.spline_flow import SplineFlow

__all__ = [
    "ELBO",
    "Attentive",
    "Convolutional",
    "DeepSet",
    "Delta",
    "DiagonalNormal",
    "Encoder",
    "FullNormal",
    "ImportanceWeighted",
    "Predictive",
    "SetTransformer",
    "Simulated",
    "SplineFlow",
]
