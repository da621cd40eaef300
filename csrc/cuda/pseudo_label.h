#pragma once

#include <cstdint>

#include "launch.h"

// As csrc/cpu/pseudo_label.h, on device memory. Each row's sums have one order, so that two runs give the same bits.
namespace sgl_fast {

void cross_entropy(const Stream& stream, int64_t V, int64_t N, int64_t J, float weight, const float* logits, const float* targets,
                   float* loss, float* log_probs, float* grad);

void pseudo_labels(const Stream& stream, int64_t K, int64_t N, int64_t J, const float* teachers, float* p, float* targets);

void teacher_cotangent(const Stream& stream, int64_t K, int64_t N, int64_t J, const float* p, const float* tau, float* cotangent);

}  // namespace sgl_fast
