"""Whether to believe a pair of strategies: studies drawn from the model, and fitted again.

- `uniformity`: are ranks uniform
- `quantities`: the numbers that are looked at
- `replicate`: one simulation
- `unfinished`: simulations in a file, to go on from
- `picture`: ECDFs and coverage, drawn
- `recovery_picture`: means against truths, drawn
- `direction`: in which way a quantity fails, in words
- `report`: the table and the words
- `sbc`: simulation-based calibration
- `distances`: how far the draws of two posteriors are apart
- `price_picture`: distances against seconds, drawn
- `price`: what another way of inference costs
- `factors`: the priors, the evidence and the likelihood at each draw
- `power_scaling`: draws under a factor that counts more or less
- `sensitivity_picture`: means and sds by what is scaled, drawn
- `sensitivity`: whether answers rest on the prior or on the data
"""

from bayesmeta.trust.price import Price, price
from bayesmeta.trust.report import SBC
from bayesmeta.trust.sbc import sbc
from bayesmeta.trust.sensitivity import Sensitivity, sensitivity

__all__ = [
    "SBC",
    "Price",
    "Sensitivity",
    "price",
    "sbc",
    "sensitivity",
]
