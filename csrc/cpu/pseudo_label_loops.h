// Softmax and cross-entropy of one row of J logits.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>

#include "simd.h"

ISA_NAMESPACE_BEGIN

typedef F<NATIVE> Floats;
constexpr int chains = 4;  // sums that run side by side, since each waits for its own last addition

// Calls body(j, count, chain) for every vector of the row: floats j to j + count, count < NATIVE for the last one only.
template <class Body> INLINE void sweep(int64_t J, Body&& body) {
    int64_t j = 0;
    for (; j + chains * NATIVE <= J; j += chains * NATIVE)
        unrolled<chains>([&](auto chain) { body(j + chain * NATIVE, NATIVE, chain); });
    for (; j + NATIVE <= J; j += NATIVE) body(j, NATIVE, 0);
    if (j < J) body(j, static_cast<int>(J - j), 0);
}

INLINE float total_of(const Floats* sums) { return sum<NATIVE>((sums[0] + sums[1]) + (sums[2] + sums[3])); }

// e^x for x <= 0, 0 where that is no normal number, NaN for NaN: 2^n e^f with f within ln(2)/2 of 0, by Taylor's
// polynomial of degree 7, off by f^8 / 8! < 1e-8. ln(2) comes in two parts, so that f is exact.
INLINE Floats exponential(Floats x) {
    const float rounder = 12582912.0f;  // 1.5 * 2^23: a sum with it is rounded to an integer, that of its low bits
    const Floats shifted = x * 1.44269504f + rounder;
    const Floats n = shifted - rounder;
    const Floats f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats e = splat<NATIVE>(1.0f / 5040);
    for (float coefficient : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) e = e * f + coefficient;
    typedef unsigned Words __attribute__((vector_size(4 * NATIVE)));
    const Floats power = (Floats)(((Words)shifted + 127u) << 23);
    return select<NATIVE>(x < -87.0f, Floats{}, e * power);
}

INLINE float largest(int64_t J, const float* x) {
    const Floats lowest = splat<NATIVE>(-std::numeric_limits<float>::infinity());
    Floats tops[chains] = {lowest, lowest, lowest, lowest};
    sweep(J, [&](int64_t j, int count, int chain) ALWAYS_INLINE {
        Floats v = load_up_to<NATIVE>(x + j, count);
        if (count < NATIVE) v = select<NATIVE>(lane_numbers<NATIVE>() < count, v, lowest);
        tops[chain] = select<NATIVE>(v > tops[chain], v, tops[chain]);
    });
    float top = tops[0][0];
    for (const Floats& v : tops)
        for (int i = 0; i < NATIVE; i++) top = v[i] > top ? v[i] : top;
    return top;
}

// out = e^(x - top); returns the sum.
INLINE float exponentials(int64_t J, const float* x, float top, float* out) {
    Floats totals[chains] = {};
    sweep(J, [&](int64_t j, int count, int chain) ALWAYS_INLINE {
        Floats e = exponential(load_up_to<NATIVE>(x + j, count) - top);
        if (count < NATIVE) e = zero_unless<NATIVE>(lane_numbers<NATIVE>() < count, e);
        store_up_to<NATIVE>(out + j, e, count);
        totals[chain] += e;
    });
    return total_of(totals);
}

// log_probs = log softmax(x); returns -sum of targets * log_probs; grad = scale * the gradient of that.
inline double cross_entropy_row(int64_t J, float scale, const float* x, const float* targets, float* log_probs,
                                float* grad) {
    const float top = largest(J, x), total = exponentials(J, x, top, grad), log_total = std::log(total);
    Floats masses[chains] = {}, losses[chains] = {};
    sweep(J, [&](int64_t j, int count, int chain) ALWAYS_INLINE {
        const Floats t = load_up_to<NATIVE>(targets + j, count);
        Floats log_p = (load_up_to<NATIVE>(x + j, count) - top) - log_total;
        if (count < NATIVE) log_p = zero_unless<NATIVE>(lane_numbers<NATIVE>() < count, log_p);
        store_up_to<NATIVE>(log_probs + j, log_p, count);
        masses[chain] += t;
        losses[chain] += t * log_p;
    });
    const float mass_over_total = total_of(masses) / total;
    sweep(J, [&](int64_t j, int count, int) ALWAYS_INLINE {
        const Floats t = load_up_to<NATIVE>(targets + j, count), e = load_up_to<NATIVE>(grad + j, count);
        store_up_to<NATIVE>(grad + j, (e * mass_over_total - t) * scale, count);
    });
    return -static_cast<double>(total_of(losses));
}

inline void softmax_row(int64_t J, const float* x, float* p) {
    const float inverse = 1.0f / exponentials(J, x, largest(J, x), p);
    sweep(J, [&](int64_t j, int count, int)
                 ALWAYS_INLINE { store_up_to<NATIVE>(p + j, load_up_to<NATIVE>(p + j, count) * inverse, count); });
}

// out = the sum of the K rows, `stride` floats apart, without row k.
inline void leave_one_out_row(int64_t K, int64_t k, int64_t J, int64_t stride, const float* rows, float* out) {
    sweep(J, [&](int64_t j, int count, int) ALWAYS_INLINE {
        Floats total = {};
        for (int64_t other = 0; other < K; other++)
            if (other != k) total += load_up_to<NATIVE>(rows + other * stride + j, count);
        store_up_to<NATIVE>(out + j, total, count);
    });
}

// The vector-Jacobian product of a softmax, times scale, in place: grad = scale * p * (grad - sum of p * grad).
inline void softmax_vjp_row(int64_t J, float scale, const float* p, float* grad) {
    Floats inner[chains] = {};
    sweep(J, [&](int64_t j, int count, int chain) ALWAYS_INLINE {
        inner[chain] += load_up_to<NATIVE>(p + j, count) * load_up_to<NATIVE>(grad + j, count);
    });
    const float mean = total_of(inner);
    sweep(J, [&](int64_t j, int count, int) ALWAYS_INLINE {
        const Floats g = load_up_to<NATIVE>(grad + j, count);
        store_up_to<NATIVE>(grad + j, load_up_to<NATIVE>(p + j, count) * (g - mean) * scale, count);
    });
}

ISA_NAMESPACE_END
