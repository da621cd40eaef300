// The kernels that exist once per instruction set, as a table of functions. The headers that define them explain each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../flat_update.h"
#include "../mixed_cell.h"
#include "convolution.h"
#include "pool.h"

namespace sgl_fast {

struct Kernels {
    // run_forward.h, run_backward.h
    void (*cell_forward)(const Pool&, const Program&, const CellInputs&, bool replay, const CellSaved&, float* out);
    void (*cell_backward)(const Pool&, const Program&, const CellInputs&, const CellSaved&, const float* out,
                          const float* grad, const CellGradients& wanted);
    // convolution_loops.h
    size_t (*convolution_scratch)(const Convolution&);
    void (*convolve)(const Convolution&, const float* x, const float* w, float* scratch, float* out);
    void (*convolve_input)(const Convolution&, const float* grad, const float* w, float* scratch, float* dx);
    void (*convolve_weight)(const Convolution&, const float* grad, const float* x, float* scratch, float* dw);
    // flat_update_loops.h
    double (*sum_of_squares)(int64_t count, const float* x);
    void (*sgd_run)(int64_t count, const Sgd&, float lr, float scale, const float* weights, const float* grad,
                    const float* buffer, float* new_weights, float* new_buffer);
    void (*perturb_run)(int64_t count, float eps, const float* weights, const float* direction, float* plus,
                        float* minus);
    void (*central_difference_run)(int64_t count, float span, const float* plus, const float* minus, float* out);
    // pseudo_label_loops.h
    double (*cross_entropy_row)(int64_t J, float scale, const float* x, const float* targets, float* log_probs,
                                float* grad);
    void (*softmax_row)(int64_t J, const float* x, float* p);
    void (*leave_one_out_row)(int64_t K, int64_t k, int64_t J, int64_t stride, const float* rows, float* sum);
    void (*softmax_vjp_row)(int64_t J, float scale, const float* p, float* grad);
    // skip_dropout_loops.h
    void (*keep_run)(uint32_t count, uint32_t first, uint32_t threshold, int64_t seed, uint32_t number, uint8_t* kept);
};

// Those of the instruction set in force: see isa.h, whose errors it has.
const Kernels& kernels();

}  // namespace sgl_fast
