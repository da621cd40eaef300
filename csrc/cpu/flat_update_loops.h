// Runs of consecutive floats.
#pragma once

#include <cstdint>
#include <cstring>

#include "../flat_update.h"
#include "simd.h"

ISA_NAMESPACE_BEGIN

inline double sum_of_squares(int64_t count, const float* x) {
    constexpr int half = NATIVE / 2, width = 4 * half;
    typedef double Doubles __attribute__((vector_size(8 * half)));
    typedef float Floats __attribute__((vector_size(4 * half)));
    Doubles sums[4] = {};
    int64_t i = 0;
    for (; i + width <= count; i += width)
        for (int s = 0; s < 4; s++) {
            Floats v;
            std::memcpy(&v, x + i + s * half, sizeof v);
            const Doubles d = __builtin_convertvector(v, Doubles);
            sums[s] += d * d;
        }
    const Doubles both = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double total = 0;
    for (int lane = 0; lane < half; lane++) total += both[lane];
    for (; i < count; i++) total += static_cast<double>(x[i]) * x[i];
    return total;
}

inline void sgd_run(int64_t count, const Sgd& s, float lr, float scale, const float* __restrict weights,
                    const float* __restrict grad, const float* __restrict buffer, float* __restrict new_weights,
                    float* __restrict new_buffer) {
    const float momentum = s.momentum, weight_decay = s.weight_decay;
    for (int64_t i = 0; i < count; i++) {
        const float b = momentum * buffer[i] + scale * grad[i] + weight_decay * weights[i];
        new_buffer[i] = b;
        new_weights[i] = weights[i] - lr * b;
    }
}

inline void perturb_run(int64_t count, float eps, const float* __restrict weights, const float* __restrict direction,
                        float* __restrict plus, float* __restrict minus) {
    for (int64_t i = 0; i < count; i++) {
        const float step = eps * direction[i];
        plus[i] = weights[i] + step;
        minus[i] = weights[i] - step;
    }
}

inline void central_difference_run(int64_t count, float span, const float* __restrict plus,
                                   const float* __restrict minus, float* __restrict out) {
    for (int64_t i = 0; i < count; i++) out[i] = (plus[i] - minus[i]) / span;
}

ISA_NAMESPACE_END
