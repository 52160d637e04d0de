"""
One pass a county
=================

A network reads the houses of a county, however many, and gives the posterior of its level and
slope. Pareto k says of each county whether the pass is to be trusted.
"""

import matplotlib.pyplot as plt

import bayesmeta as bm
from bayesmeta.models import radon

counties = radon.tasks()
theta = bm.Gaussian(particles=2, batch_size=17, adam=bm.Adam(lr=5e-3, steps=300, patience=0))
phi = bm.Amortised(bound=bm.ELBO(2))
post = bm.fit(radon.model, counties, theta=theta, phi=phi, progress=False)
new = post.adapt(counties)
print(new.diagnose())

# %%
# Levels by the network, against chains for each county at the same theta:

exact = post.adapt(counties.select(range(12)), phi=bm.HMC())
network, chains = (p.phi["alpha"].flatten(0, 1)[:, :12] for p in (new, exact))
figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
axes.errorbar(
    chains.mean(0).flatten(),
    network.mean(0).flatten(),
    xerr=chains.std(0).flatten(),
    yerr=network.std(0).flatten(),
    fmt="o",
)
axes.axline((1.3, 1.3), slope=1, color="0.7")
axes.set_xlabel("by HMC")
axes.set_ylabel("by the network")
plt.show()
