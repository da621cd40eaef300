// Sums over a plane's pixels, and what batch norms do with them.
#pragma once

#include "simd.h"

ISA_NAMESPACE_BEGIN

constexpr double EPS = 1e-5;  // of batch norm

// Mean and sum of squared deviations of n pixels, in one pass around the mean of the first ones.
inline void moments(const float* z, int n, float* mean, float* deviations) {
    constexpr int L = NATIVE;
    const float pivot = n < L ? z[0] : sum<L>(load<L>(z)) / L;
    F<L> s[2] = {}, q[2] = {};
    int x = 0;
    for (; x + 2 * L <= n; x += 2 * L)
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            F<L> d = load<L>(z + x + i * L) - pivot;
            s[i] += d;
            q[i] += d * d;
        }
    float total = sum<L>(s[0] + s[1]), squares = sum<L>(q[0] + q[1]);
    for (; x < n; x++) {
        float d = z[x] - pivot;
        total += d;
        squares += d * d;
    }
    *mean = pivot + total / n;
    *deviations = squares - total * (total / n);
}

// out[x] = sum over t of scale[t] * (in[t][x] - mean[t])
inline void combine(int terms, const float* const* in, const float* mean, const float* scale, float* out, int n) {
    constexpr int L = NATIVE, B = 4;
    int x = 0;
    for (; x + B * L <= n; x += B * L) {
        F<L> sums[B] = {};
        for (int t = 0; t < terms; t++)
#pragma GCC unroll 4
            for (int i = 0; i < B; i++) sums[i] += scale[t] * (load<L>(in[t] + x + i * L) - mean[t]);
#pragma GCC unroll 4
        for (int i = 0; i < B; i++) store<L>(out + x + i * L, sums[i]);
    }
    for (; x < n; x += L) {
        F<L> v = {};
        for (int t = 0; t < terms; t++) v += scale[t] * (load_up_to<L>(in[t] + x, n - x) - mean[t]);
        store_up_to<L>(out + x, v, n - x);
    }
}

// Returns the sum of dy; dy_xmu[t] = sum over x of dy[x] * (z[t][x] - mean[t]).
inline float dy_sums(const float* dy, int n, int terms, const float* const* z, const float* mean, float* dy_xmu) {
    constexpr int L = NATIVE;
    F<L> total = {};
    for (int x = 0; x < n; x += L) total += load_up_to<L>(dy + x, n - x);
    for (int t = 0; t < terms; t++) {
        F<L> s[2] = {};
        int x = 0;
        for (; x + 2 * L <= n; x += 2 * L)
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++) s[i] += load<L>(dy + x + i * L) * (load<L>(z[t] + x + i * L) - mean[t]);
        for (; x < n; x += L) s[0] += load_up_to<L>(dy + x, n - x) * (load_up_to<L>(z[t] + x, n - x) - mean[t]);
        dy_xmu[t] = sum<L>(s[0] + s[1]);
    }
    return sum<L>(total);
}

// Backward of a batch norm, n pixels of a channel: dz = scale * (dy - mean_dy - (z - mean) * mean_dy_xhat), with
// mean_dy_xhat = mean(dy * (z - mean)) / variance. To the end of the last vector; with ADD onto what is there.
template <bool ADD = false>
inline void bn_backward(const float* dy, const float* z, float scale, float mean_dy, float mean_dy_xhat, float mean,
                        float* dz, int n) {
    constexpr int L = NATIVE;
    for (int x = 0; x < n; x += L) {
        F<L> v = scale * (load_up_to<L>(dy + x, n - x) - mean_dy - (load_up_to<L>(z + x, n - x) - mean) * mean_dy_xhat);
        store<L>(dz + x, ADD ? v + load<L>(dz + x) : v);
    }
}

ISA_NAMESPACE_END
