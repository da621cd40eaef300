// Defines the table of the kernels of one instruction set: for the sources kernels_*.cpp alone.
#pragma once

#include "convolution_loops.h"
#include "flat_update_loops.h"
#include "kernels.h"
#include "pseudo_label_loops.h"
#include "run_backward.h"
#include "run_forward.h"
#include "skip_dropout_loops.h"

ISA_NAMESPACE_BEGIN

extern const Kernels table;
const Kernels table{
    run_forward,       run_backward,                        // a cell
    convolution_room,  convolve,     convolve_input, convolve_weight,  // a convolution
    sum_of_squares,    sgd_run,      perturb_run,    quotient_run,
    cross_entropy_row, softmax_row,  others_row,     pull_back_row,
    keep_run,
};

ISA_NAMESPACE_END
