// Updates of flat weights: K rows of P floats, contiguous. Sums run over blocks of a fixed size, so that the results do
// not depend on the number of threads and two runs give the same bits.
#pragma once

#include <cstdint>

namespace sgl_fast {

struct Pool;    // cpu/pool.h
struct Stream;  // cuda/launch.h

struct Sgd {
    float momentum, weight_decay;
    float clip;  // the largest norm of a row of the gradient; 0 for no limit
};

// norms[k] = the Euclidean norm of row k; (K, P) -> (K).
void row_norms(const Pool& pool, int64_t K, int64_t P, const float* rows, float* norms);
void row_norms(const Stream& stream, int64_t K, int64_t P, const float* rows, float* norms);

// new_buffer = momentum * buffer + clipped gradient + weight_decay * weights; new_weights = weights - lr * new_buffer;
// norms (K) of the gradient before clipping, lr one number, the others (K, P).
void sgd(const Pool& pool, int64_t K, int64_t P, const Sgd& settings, const float* lr, const float* weights,
         const float* grad, const float* buffer, float* new_weights, float* new_buffer, float* norms);
void sgd(const Stream& stream, int64_t K, int64_t P, const Sgd& settings, const float* lr, const float* weights,
         const float* grad, const float* buffer, float* new_weights, float* new_buffer, float* norms);

// both = weights + eps * direction, then weights - eps * direction, (2K, P), with eps[k] = r / norm of direction[k]:
// 0 where that norm is 0, or so small that float32 cannot hold 2 eps; NaN where it is not a finite float32.
void perturb(const Pool& pool, int64_t K, int64_t P, float r, const float* weights, const float* direction, float* both,
             float* eps);
void perturb(const Stream& stream, int64_t K, int64_t P, float r, const float* weights, const float* direction,
             float* both, float* eps);

// out = (both[:K] - both[K:]) / (2 eps), and the difference itself where eps is 0; (2K, P) -> (K, P).
void central_difference(const Pool& pool, int64_t K, int64_t P, const float* both, const float* eps, float* out);
void central_difference(const Stream& stream, int64_t K, int64_t P, const float* both, const float* eps, float* out);

}  // namespace sgl_fast
