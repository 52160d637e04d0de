"""Networks as functions of flat weights, so that phi_i may be the weights of task i.

- `calls`: which networks a model calls, with which weights
- `convolution`: quick for the images of one task
- `normalisation`: by the statistics of a task's own images
- `pretrained`: networks that were trained elsewhere
- `net`: a module as a function net(w, x)
- `perceptron`: the small network that encoders and heads are made of
- `layers`: the layers of phi, by name
"""

from bayesmeta.nets.net import Net
from bayesmeta.nets.normalisation import TransductiveBatchNorm2d
from bayesmeta.nets.pretrained import pretrained

__all__ = ["Net", "TransductiveBatchNorm2d", "pretrained"]
