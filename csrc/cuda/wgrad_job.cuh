// Gradients of weights: a block's images, and the sums of a depthwise convolution's taps.
#pragma once

#include "bn_backward.cuh"
#include "convolve.cuh"

namespace sgl_fast {

// Some of a learner's images, and where the gradients from them go: shares (V * groups, weights).
struct ImageGroup {
    int N, groups;
    long long weights;
    float* shares;
    int v, group;

    int first() const { return v * N + N * group / groups; }
    int end() const { return v * N + N * (group + 1) / groups; }
    float* share() const { return shares + (v * groups + group) * weights; }
};

// products[tap] += dz * what the tap reads, for four neighbouring outputs. at: a padded plane where the window of the first
// one starts. HALF: two threads split the K rows of taps: side 0 takes ceil(K / 2), side 1 floor(K / 2).
// Otherwise one thread takes all K.
template <bool HALF, int K, int D, int S, int N>
__forceinline__ void tap_products(int side, const float4& dz, const float* at, int row, float (&products)[N]) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad,
                  rows = HALF ? K / 2 + 1 : K;
    const float four[4] = {dz.x, dz.y, dz.z, dz.w};
    const int first = HALF ? side * rows : 0;
#pragma unroll
    for (int i = 0; i < rows; i++) {
        if (HALF && first + i >= K) continue;  // not a break, for which some compilers move `products` to the stack
        float window[width];
        read_fours(at + (start + (first + i) * D) * row, window);
#pragma unroll
        for (int j = 0; j < K; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) products[i * K + j] += four[e] * window[start + S * e + j * D];
    }
}

template <bool HALF, int K, int N>
__forceinline__ void tap_products(const ConvJob& job, int side, const float4& dz, const float* at, int row,
                                  float (&products)[N]) {
    if (job.stride == 1 && job.dilation == 1)
        tap_products<HALF, K, 1, 1>(side, dz, at, row, products);
    else if (job.stride == 1)
        tap_products<HALF, K, 2, 1>(side, dz, at, row, products);
    else if (job.dilation == 1)
        tap_products<HALF, K, 1, 2>(side, dz, at, row, products);
    else
        tap_products<HALF, K, 2, 2>(side, dz, at, row, products);
}

template <bool HALF, int N>
__forceinline__ void tap_products(const ConvJob& job, int side, const float4& dz, const float* at, int row,
                                  float (&products)[N]) {
    if (job.kernel == 3)
        tap_products<HALF, 3>(job, side, dz, at, row, products);
    else
        tap_products<HALF, 5>(job, side, dz, at, row, products);
}

// products[j] += dz * what tap j of row i of a large kernel reads.
template <int K, int D, int S>
__forceinline__ void row_products(int i, const float4& dz, const float* at, int row, float (&products)[ROW_TAPS]) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad;
    const float four[4] = {dz.x, dz.y, dz.z, dz.w};
    float window[width];
    read_fours(at + (start + i * D) * row, window);
#pragma unroll
    for (int j = 0; j < K; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) products[j] += four[e] * window[start + S * e + j * D];
}

__forceinline__ void row_products(const ConvJob& job, int i, const float4& dz, const float* at, int row,
                                  float (&products)[ROW_TAPS]) {
    if (job.stride == 1 && job.dilation == 1)
        row_products<7, 1, 1>(i, dz, at, row, products);
    else if (job.stride == 1)
        row_products<7, 2, 1>(i, dz, at, row, products);
    else if (job.dilation == 1)
        row_products<7, 1, 2>(i, dz, at, row, products);
    else
        row_products<7, 2, 2>(i, dz, at, row, products);
}

}  // namespace sgl_fast
