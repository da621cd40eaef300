// Whose weights' gradients are summed, and how those of a depthwise convolution are.
#pragma once

#include "convolve.cuh"
#include "slopes.cuh"

namespace sgl_fast {

constexpr int MOST_WEIGHT_JOBS = 128;
constexpr int SIDE = 4;  // outputs and inputs of which a thread sums the products at a time
constexpr int MOST_TAPS = 25;

// conv: how the forward computed it, its chunk that of the gradient; slope: what its result's norm passes back.
struct WeightJob {
    ConvJob conv;
    Slope slope;
    int lanes;  // threads along a tile's quads; 0: wide_weight_gradient.cuh
    int band;   // rows of outputs at a time there

    __host__ __device__ int chunks() const { return (conv.ins + conv.chunk - 1) / conv.chunk; }
    __host__ __device__ int parts() const { return lanes > WARP ? lanes / WARP : 1; }  // warps that share a sum
    __host__ __device__ int outs() const { return (conv.outs + SIDE - 1) / SIDE * SIDE; }
    // Room for the sums of a channel's taps.
    __host__ __device__ int most_taps() const { return conv.taps() > MOST_TAPS ? conv.taps() : MOST_TAPS; }
    __host__ __device__ int ins() const { return (conv.chunk + SIDE - 1) / SIDE * SIDE; }
};

struct WeightJobs {
    WeightJob job[MOST_WEIGHT_JOBS];
};

// Some of a learner's images, and where the gradients from them go: shares (V * groups, weights).
struct ImageGroup {
    int N, groups;
    long long weights;
    float* shares;
    int v, group;

    __device__ int first() const { return v * N + N * group / groups; }
    __device__ int end() const { return v * N + N * (group + 1) / groups; }
    __device__ float* share() const { return shares + (v * groups + group) * weights; }
};

// products[tap] += slope * what the tap reads, for four neighbouring outputs. at: a padded plane where the window of the first
// one starts. HALF: two threads split the K rows of taps: side 0 takes ceil(K / 2), side 1 floor(K / 2).
// Otherwise one thread takes all K.
template <bool HALF, int K, int D, int S, int N>
__device__ __forceinline__ void tap_products(int side, const float4& slope, const float* at, int row, float (&products)[N]) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad, rows = HALF ? K / 2 + 1 : K;
    const float slopes[4] = {slope.x, slope.y, slope.z, slope.w};
    const int first = HALF ? side * rows : 0;
#pragma unroll
    for (int i = 0; i < rows; i++) {
        if (first + i >= K) break;
        float window[width];
        read_fours(at + (start + (first + i) * D) * row, window);
#pragma unroll
        for (int j = 0; j < K; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) products[i * K + j] += slopes[e] * window[start + S * e + j * D];
    }
}

template <bool HALF, int K, int N>
__device__ __forceinline__ void tap_products(const ConvJob& job, int side, const float4& slope, const float* at, int row, float (&products)[N]) {
    if (job.stride == 1 && job.dilation == 1) tap_products<HALF, K, 1, 1>(side, slope, at, row, products);
    else if (job.stride == 1) tap_products<HALF, K, 2, 1>(side, slope, at, row, products);
    else if (job.dilation == 1) tap_products<HALF, K, 1, 2>(side, slope, at, row, products);
    else tap_products<HALF, K, 2, 2>(side, slope, at, row, products);
}

template <bool HALF, int N>
__device__ __forceinline__ void tap_products(const ConvJob& job, int side, const float4& slope, const float* at, int row, float (&products)[N]) {
    if (job.kernel == 3) tap_products<HALF, 3>(job, side, slope, at, row, products);
    else tap_products<HALF, 5>(job, side, slope, at, row, products);
}

constexpr int ROW_TAPS = 8;  // room for the taps of a row of a large kernel

// products[j] += slope * what tap j of row i of a large kernel reads.
template <int K, int D, int S>
__device__ __forceinline__ void row_products(int i, const float4& slope, const float* at, int row, float (&products)[ROW_TAPS]) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad;
    const float slopes[4] = {slope.x, slope.y, slope.z, slope.w};
    float window[width];
    read_fours(at + (start + i * D) * row, window);
#pragma unroll
    for (int j = 0; j < K; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) products[j] += slopes[e] * window[start + S * e + j * D];
}

__device__ __forceinline__ void row_products(const ConvJob& job, int i, const float4& slope, const float* at, int row,
                                             float (&products)[ROW_TAPS]) {
    if (job.stride == 1 && job.dilation == 1) row_products<7, 1, 1>(i, slope, at, row, products);
    else if (job.stride == 1) row_products<7, 2, 1>(i, slope, at, row, products);
    else if (job.dilation == 1) row_products<7, 1, 2>(i, slope, at, row, products);
    else row_products<7, 2, 2>(i, slope, at, row, products);
}

}  // namespace sgl_fast
