#pragma once

#include <cstdint>

#include "../cpu/flat_update.h"
#include "launch.h"

// As csrc/cpu/flat_update.h, on device memory. A sum has one order, so that two runs give the same bits.
namespace sgl_fast {

void row_norms(const Stream& stream, int64_t K, int64_t P, const float* rows, float* norms);

void sgd(const Stream& stream, int64_t K, int64_t P, const Sgd& settings, const float* lr, const float* weights,
         const float* grad, const float* buffer, float* new_weights, float* new_buffer, float* norms);

void perturb(const Stream& stream, int64_t K, int64_t P, float r, const float* weights, const float* direction,
             float* both, float* eps);

void quotient(const Stream& stream, int64_t K, int64_t P, const float* both, const float* eps, float* out);

}  // namespace sgl_fast
