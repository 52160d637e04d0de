/* A model compiled by AOTInductor, with its data bound, as the C function that nutpie calls.
 *
 * AOTInductor's shared objects and libtorch both export a C interface (aoti_runtime/interface.h,
 * aoti_torch/c/shim.h), so no C++ header of torch is needed and this file compiles in a second.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void *Tensor;
typedef int32_t (*Create)(void **, size_t, const char *, const char *);
typedef int32_t (*Run)(void *, Tensor *, size_t, Tensor *, size_t, void *, void *);

extern int32_t aoti_torch_dtype_float64(void);
extern int32_t aoti_torch_dtype_int64(void);
extern int32_t aoti_torch_dtype_bool(void);
extern int32_t aoti_torch_device_type_cpu(void);
extern int32_t aoti_torch_create_tensor_from_blob(void *, int64_t, const int64_t *, const int64_t *,
                                                  int64_t, int32_t, int32_t, int32_t, Tensor *);
extern int32_t aoti_torch_new_tensor_handle(Tensor, Tensor *);
extern int32_t aoti_torch_delete_tensor_object(Tensor);
extern int32_t aoti_torch_get_data_ptr(Tensor, void **);

enum { MAX_INPUTS = 256, NOT_FINITE = 3, FAILED = -1 };

typedef struct {
    void *container;
    Run run;
    int64_t count;
    Tensor data[MAX_INPUTS];
} Density;

static int32_t wrap(void *values, int64_t ndim, const int64_t *sizes, const int64_t *strides,
                    int32_t dtype, Tensor *out) {
    return aoti_torch_create_tensor_from_blob(values, ndim, sizes, strides, 0, dtype,
                                              aoti_torch_device_type_cpu(), 0, out);
}

/* Load the model at `path` with `runners` instances; NULL where it cannot be loaded. */
Density *density_open(const char *path, int64_t runners) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return NULL;
    Create create = (Create)dlsym(library, "AOTInductorModelContainerCreateWithDevice");
    Run run = (Run)dlsym(library, "AOTInductorModelContainerRun");
    Density *self = calloc(1, sizeof(Density));
    if (!self || !create || !run || create(&self->container, (size_t)runners, "cpu", NULL)) {
        free(self);
        return NULL;
    }
    self->run = run;
    return self;
}

/* Bind one data input; the caller keeps its memory alive. kind: 'd' float64, 'l' int64, '?' bool. */
int32_t density_bind(Density *self, void *values, int64_t ndim, const int64_t *sizes,
                     const int64_t *strides, char kind) {
    if (self->count + 1 >= MAX_INPUTS) return FAILED;
    int32_t dtype = kind == 'd'   ? aoti_torch_dtype_float64()
                    : kind == 'l' ? aoti_torch_dtype_int64()
                                  : aoti_torch_dtype_bool();
    return wrap(values, ndim, sizes, strides, dtype, &self->data[self->count++]);
}

/* nutpie's signature: 0 is success, above 0 a rejected step, below 0 the end of sampling. */
int64_t density_logp(size_t dim, const double *x, double *gradient, double *logp, void *user) {
    Density *self = user;
    Tensor inputs[MAX_INPUTS], outputs[2];
    int64_t size = (int64_t)dim, stride = 1;
    void *value, *slope;
    /* The model takes ownership of its input handles, so each call makes its own. */
    if (wrap((void *)x, 1, &size, &stride, aoti_torch_dtype_float64(), &inputs[0])) return FAILED;
    for (int64_t i = 0; i < self->count; i++)
        if (aoti_torch_new_tensor_handle(self->data[i], &inputs[i + 1])) return FAILED;
    if (self->run(self->container, inputs, (size_t)self->count + 1, outputs, 2, NULL, NULL))
        return FAILED;
    if (aoti_torch_get_data_ptr(outputs[0], &value) || aoti_torch_get_data_ptr(outputs[1], &slope))
        return FAILED;
    *logp = *(double *)value;
    memcpy(gradient, slope, dim * sizeof(double));
    aoti_torch_delete_tensor_object(outputs[0]);
    aoti_torch_delete_tensor_object(outputs[1]);
    return isfinite(*logp) ? 0 : NOT_FINITE;
}

/* nutpie's expand function: what is stored of a draw is the draw. */
int64_t density_expand(size_t dim, size_t expanded, const double *x, double *out, void *user) {
    (void)expanded;
    (void)user;
    memcpy(out, x, dim * sizeof(double));
    return 0;
}
