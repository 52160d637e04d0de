"""
Does the answer rest on the prior?
==================================

Factors of the density are raised to powers, draws are weighed, and nothing is fitted again. With
eight schools of one number each the prior of tau matters; with 919 houses it does not.
"""

import bayesmeta as bm
from bayesmeta.models import eight_schools, radon

post = bm.fit(
    eight_schools.model,
    eight_schools.tasks(),
    theta=bm.Importance(),
    phi=bm.Exact(),
    progress=False,
)
found = bm.sensitivity(post)
print(found)

# %%
# Means and standard deviations under both powers:

figure = found.draw()

# %%
# Radon, 919 houses of 85 counties:

post = bm.fit(radon.model, radon.tasks(), theta=bm.Importance(), phi=bm.Exact(), progress=False)
print(bm.sensitivity(post))
