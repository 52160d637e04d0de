"""
A county never seen, house by house
===================================

Radon in Minnesota: the model is fitted to 84 counties, and the largest is met with none, five and
fifty of its houses. Draws of theta stay what they were; only phi of the new county is inferred.
"""

import matplotlib.pyplot as plt

import bayesmeta as bm
from bayesmeta.models import radon

counties = radon.tasks()
largest = int(counties.mask.sum(1).argmax())
others = [k for k in range(counties.num_tasks) if k != largest]
post = bm.fit(
    radon.model,
    counties.select(others),
    theta=bm.Importance(draws=1000),
    phi=bm.Exact(),
    progress=False,
)
print(post.diagnose())

# %%
# Without a house the county has its prior, given theta and its uranium. Houses narrow it down, and
# slowly: the counties differ little once uranium is known.

new = counties.select([largest])
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for shots in (0, 5, 50):
    support, query = new.split(shots=shots)
    adapted = post.adapt(support)
    level = adapted.phi["alpha"].flatten()
    axes.hist(level.numpy(), bins=40, density=True, histtype="step", label=f"{shots} houses")
    score = adapted.log_score(query)[query.mask].mean()
    print(f"{shots} houses: level {level.mean():.2f} +- {level.std():.2f}, log score {score:.3f}")
axes.set_xlabel("log radon in the county's basements")
axes.legend(frameon=False)
plt.show()
