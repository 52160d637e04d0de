"""Networks as functions of flat weights, so that phi_i may be the weights of task i.

- `calls`: which networks a model calls, with which weights
- `convolution`: quick for the images of one task
- `normalisation`: by the statistics of a task's own images
- `pretrained`: networks that were trained elsewhere
- `one_task`: a network in the form that is quick for a single task
- `recurrence`: recurrent layers step by step
- `operations`: what torch cannot batch or differentiate twice, in another form
- `trial`: a module at two tasks, by torch and as a network
- `derivatives`: derivatives against finite differences
- `behaviour`: whether a network may stand in a density
- `constants`: parts by name, carried from one network to another and stored
- `net`: a module as a function net(w, x)
- `perceptron`: the small network that encoders and heads are made of
- `attention`: what one set of vectors reads of another
- `grid`: places in space as the input of convolutions
- `phi_layers`: which of phi's numbers are which layer of a network
"""

from bayesmeta.data.real_rows import real_rows
from bayesmeta.nets.attention import Attention
from bayesmeta.nets.behaviour import LayerError
from bayesmeta.nets.grid import nearness
from bayesmeta.nets.net import Net
from bayesmeta.nets.normalisation import TransductiveBatchNorm2d
from bayesmeta.nets.perceptron import keep_size, perceptron
from bayesmeta.nets.pretrained import pretrained
from bayesmeta.running.isolation import isolated

__all__ = [
    "Attention",
    "LayerError",
    "Net",
    "TransductiveBatchNorm2d",
    "isolated",
    "keep_size",
    "nearness",
    "perceptron",
    "pretrained",
    "real_rows",
]
