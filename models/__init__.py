"""The zoo: one file one model, each with `model(tasks)`, `tasks(...)` and, where known, REFERENCE.

- `normal_means`: a normal mean per task under a shared normal; conjugate, with its closed form.
- `eight_schools`: effects of coaching in eight schools (Rubin 1981), one datapoint a task.
- `radon`: radon in Minnesota's houses, an intercept and a slope per county, given its uranium.
- `radon_contextual`: the same houses under the inference gym's model, with its reference.
- `linear_regression`: a weight vector per task under a shared diagonal normal, simulated.
- `logistic_regression`: the same with binary outcomes, simulated.
- `few_shot_classifier`: images by a network a task, every weight of which is phi.
- `anil`: the same tasks, but features are shared and the last layer alone is phi.
- `prototypes`: the same tasks by prototypical networks, the model of Gaussian class means.
- `ridge`: the same tasks by a ridge regression of labels on shared features, as in R2-D2.
- `omniglot`: no model, but the characters that these four are tried on.
- `fashion_mnist`: no model, but photographs of ten kinds of clothes.
- `masked_autoencoder`: features without labels, by filling in what was hidden of an image.
- `intents`: no model, but sentences to an assistant, by domain, and their features.
- `words`: prototypes of sentences, by the weight of each word.
- `sinusoid`: sine waves, a small network a task: the regression of MAML's paper.
- `last_layer`: the same waves by a Bayesian last layer on shared features, as in ALPaCA.
- `neural_process`: functions by a shared decoder and a latent vector each, drawn from a Gaussian
  process whose exact predictive is known.
- `attentive_process`: the same functions by a decoder that attends to slots.
- `convolutional_process`: the same functions by a decoder that reads maps of theirs; and images.
- `pooling`: radon by county with complete, no and partial pooling, and with shared features.
- `transfer`: a network trained on a source, and fine-tuned on targets (L2-SP); `corruptions` makes
  images worse.
"""

from . import (
    anil,
    attentive_process,
    convolutional_process,
    corruptions,
    eight_schools,
    fashion_mnist,
    few_shot_classifier,
    intents,
    last_layer,
    linear_regression,
    logistic_regression,
    masked_autoencoder,
    neural_process,
    normal_means,
    omniglot,
    pooling,
    prototypes,
    radon,
    radon_contextual,
    ridge,
    sinusoid,
    transfer,
    words,
)

__all__ = [
    "anil",
    "attentive_process",
    "convolutional_process",
    "corruptions",
    "eight_schools",
    "fashion_mnist",
    "few_shot_classifier",
    "intents",
    "last_layer",
    "linear_regression",
    "logistic_regression",
    "masked_autoencoder",
    "neural_process",
    "normal_means",
    "omniglot",
    "pooling",
    "prototypes",
    "radon",
    "radon_contextual",
    "ridge",
    "sinusoid",
    "transfer",
    "words",
]
