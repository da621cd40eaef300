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
    float* share() const { return shares + blockIdx.y * weights; }
};

// products[tap] += dz * what the tap reads, for four neighbouring outputs. at: a padded plane where the window of the first
// one starts. Threads share the K rows of taps, ROWS each but for the last: this is one's part.
template <int ROWS, int K, int D, int S, int N>
__forceinline__ void tap_products(int part, const float4& dz, const float* at, int row, float (&products)[N]) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad;
    const float four[4] = {dz.x, dz.y, dz.z, dz.w};
    const int first = ROWS < K ? part * ROWS : 0;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        if (ROWS < K && first + i >= K) continue;  // not a break, for which some compilers move `products` to the stack
        float window[width];
        read_fours(at + (start + (first + i) * D) * row, window);
#pragma unroll
        for (int j = 0; j < K; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) products[i * K + j] += four[e] * window[start + S * e + j * D];
    }
}

template <int ROWS, int K, int N>
__forceinline__ void tap_products(const ConvJob& job, int part, const float4& dz, const float* at, int row,
                                  float (&products)[N]) {
    static_assert(ROWS * K <= N, "a thread's taps");
    if (job.stride == 1 && job.dilation == 1)
        tap_products<ROWS, K, 1, 1>(part, dz, at, row, products);
    else if (job.stride == 1)
        tap_products<ROWS, K, 2, 1>(part, dz, at, row, products);
    else if (job.dilation == 1)
        tap_products<ROWS, K, 1, 2>(part, dz, at, row, products);
    else
        tap_products<ROWS, K, 2, 2>(part, dz, at, row, products);
}

}  // namespace sgl_fast
