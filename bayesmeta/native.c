/* A log density compiled by AOTInductor as the C function that a sampler calls.
 *
 * Plain C without torch's headers: every function of torch and of the compiled model comes in as a pointer, so that this
 * file compiles in a fraction of a second and has no ABI of its own to break. The signatures are those of
 * torch/csrc/inductor/aoti_torch/c/shim.h and torch/csrc/inductor/aoti_runtime/interface.h. Structures mirror native.py.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { OK = 0, NOT_FINITE = 3, FAILED = -1, WRONG_SIZE = -2 };
enum { MAX_INPUTS = 256 };

typedef void *Tensor;

typedef struct {
    void *data;
    int64_t ndim;
    const int64_t *sizes;
    const int64_t *strides;
    int32_t dtype;
} Input;

typedef struct {
    int32_t (*from_blob)(void *, int64_t, const int64_t *, const int64_t *, int64_t, int32_t, int32_t, int32_t, Tensor *);
    int32_t (*data_ptr)(Tensor, void **);
    int32_t (*drop)(Tensor);
    int32_t (*run)(void *, Tensor *, size_t, Tensor *, size_t, void *, void *);
    void *model;
    int64_t num_inputs; /* the first is q, whose data pointer is set by each call */
    const Input *inputs;
    int64_t calls;
} Density;

/* Make the input tensors. The model's run takes them over, so they are made anew for each call. */
static int open_inputs(const Density *d, const double *q, Tensor *tensors)
{
    for (int64_t i = 0; i < d->num_inputs; i++) {
        const Input *in = &d->inputs[i];
        void *data = i == 0 ? (void *)q : in->data;
        if (d->from_blob(data, in->ndim, in->sizes, in->strides, 0, in->dtype, 0, 0, &tensors[i])) {
            while (i-- > 0) d->drop(tensors[i]);
            return FAILED;
        }
    }
    return OK;
}

int64_t bayesmeta_logp(size_t dim, const double *q, double *grad, double *logp, void *user)
{
    Density *d = (Density *)user;
    Tensor inputs[MAX_INPUTS], outputs[2] = {NULL, NULL};
    void *value = NULL, *slope = NULL;

    if ((int64_t)dim != d->inputs[0].sizes[0] || d->num_inputs > MAX_INPUTS) return WRONG_SIZE;
    __atomic_fetch_add(&d->calls, 1, __ATOMIC_RELAXED);
    if (open_inputs(d, q, inputs)) return FAILED;
    if (d->run(d->model, inputs, (size_t)d->num_inputs, outputs, 2, NULL, NULL)) return FAILED;
    int failed = d->data_ptr(outputs[0], &value) || d->data_ptr(outputs[1], &slope);
    if (!failed) {
        *logp = *(const double *)value;
        memcpy(grad, slope, dim * sizeof(double));
    }
    d->drop(outputs[0]);
    d->drop(outputs[1]);
    if (failed) return FAILED;
    return isfinite(*logp) ? OK : NOT_FINITE;
}

/* The draws are kept as they are, unconstrained: what a sampler calls to expand a draw is the identity. */
int64_t bayesmeta_identity(size_t dim, size_t expanded, const double *q, double *out, void *user)
{
    (void)user;
    if (dim != expanded) return WRONG_SIZE;
    memcpy(out, q, dim * sizeof(double));
    return OK;
}
