// Defines the table of the kernels of one instruction set: for the sources kernels_*.cpp alone.
#pragma once

#include "convolution_loops.h"
#include "depthwise_loops.h"
#include "flat_update_loops.h"
#include "kernels.h"
#include "pseudo_label_loops.h"
#include "run_backward.h"
#include "run_forward.h"
#include "skip_dropout_loops.h"

ISA_NAMESPACE_BEGIN

extern const Kernels table;
const Kernels table{
    .cell_forward = run_forward,
    .cell_backward = run_backward,
    .convolution_scratch = convolution_scratch,
    .convolve = convolve,
    .convolve_input = convolve_input,
    .convolve_weight = convolve_weight,
    .sum_of_squares = sum_of_squares,
    .sgd_run = sgd_run,
    .perturb_run = perturb_run,
    .central_difference_run = central_difference_run,
    .cross_entropy_row = cross_entropy_row,
    .softmax_row = softmax_row,
    .leave_one_out_row = leave_one_out_row,
    .softmax_vjp_row = softmax_vjp_row,
    .keep_run = keep_run,
};

ISA_NAMESPACE_END
