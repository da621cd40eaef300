// Softmax, cross-entropy and pseudo-labels on rows of J logits, float32 and contiguous; V virtual learners or K
// learners, N images. The sums of a row have one order, so that the results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace sgl_fast {

struct Pool;    // cpu/pool.h
struct Stream;  // cuda/launch.h

// log_probs = log softmax(logits); loss[v] = -mean over n of sum over c of targets * log_probs;
// grad = gradient of weight * loss in the logits. All (V, N, J) but loss (V). Targets need not sum to 1.
void cross_entropy(const Pool& pool, int64_t V, int64_t N, int64_t J, float weight, const float* logits,
                   const float* targets, float* loss, float* log_probs, float* grad);
void cross_entropy(const Stream& stream, int64_t V, int64_t N, int64_t J, float weight, const float* logits,
                   const float* targets, float* loss, float* log_probs, float* grad);

// p = softmax(teachers); targets[k] = sum over j != k of p[j]. All (K, N, J).
void pseudo_labels(const Pool& pool, int64_t K, int64_t N, int64_t J, const float* teachers, float* p, float* targets);
void pseudo_labels(const Stream& stream, int64_t K, int64_t N, int64_t J, const float* teachers, float* p,
                   float* targets);

// The gradient of the cross-entropies in the teachers' logits: with others[k] = sum over j != k of tau[j],
// cotangent = -p * (others - sum over c of p * others) / N. All (K, N, J).
void pseudo_label_vjp(const Pool& pool, int64_t K, int64_t N, int64_t J, const float* p, const float* tau,
                      float* cotangent);
void pseudo_label_vjp(const Stream& stream, int64_t K, int64_t N, int64_t J, const float* p, const float* tau,
                      float* cotangent);

}  // namespace sgl_fast
