"""Networks that read a whole dataset D_i and give q(phi_i | D_i, theta) in one pass.

- `encoder_rows`: a task's datapoints as rows of numbers
- `encoders`: networks from a dataset of any size to a vector
- `set_transformer`: an encoder whose datapoints attend to each other
- `convolutional`: an encoder by convolutions on a grid
- `guides`: families of q(phi_i | D_i, theta), out of the encoding
- `spline_flow`: a guide that is not normal
- `normal_mixture`: a guide of several normals
- `bounds`: what the network is trained for
- `simulated_phi`: the phi that simulated tasks were drawn from
- `weighted_draws`: draws picked by importance weights
"""

from bayesmeta.amortisation.bounds import ELBO, ImportanceWeighted, Predictive, Simulated
from bayesmeta.amortisation.convolutional import Convolutional
from bayesmeta.amortisation.encoders import Attentive, DeepSet, Encoder
from bayesmeta.amortisation.guides import Delta, DiagonalNormal, FullNormal
from bayesmeta.amortisation.normal_mixture import NormalMixture
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
    "NormalMixture",
    "Predictive",
    "SetTransformer",
    "Simulated",
    "SplineFlow",
]
