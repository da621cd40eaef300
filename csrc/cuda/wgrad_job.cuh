// Gradients of weights: a block's images, and the sums of a depthwise convolution's taps.
#pragma once

#include "bn_backward.cuh"
#include "convolve.cuh"

namespace sgl_fast {

// Some of a learner's images, and where the gradients from them go: shares (V * groups, weights).
struct ImageGroup {
    int v, first, end;
    float* share;

    ImageGroup(int N, const Divisor& groups, long long weights, float* shares)
        : v((int)blockIdx.y / groups), share(shares + blockIdx.y * weights) {
        const int group = (int)blockIdx.y - v * groups;
        first = v * N + N * group / groups;
        end = v * N + N * (group + 1) / groups;
    }
};

// Of a block. Each way finds it anew: one register less is held where the ways part.
__forceinline__ int first_channel(const WgradJob& job) { return anew(blockIdx.x) * job.conv.chunk; }

constexpr int READS = 2;  // quads of a thread on their way from memory at a time

// Channels c0 .. c0 + count - 1, as far as their recorded ReLU is open, into planes with a border.
__forceinline__ void load_opened(const Planes& from, const Tiling& tiling, const unsigned char* mask, int c0, int count,
                                 const PaddedPlane& plane, float* to) {
    for (int q = tile_lane(tiling); q < tiling.quads; q += tiling.lanes) {
        const int y = tiling.y(q), x = tiling.x(q);
        for (int i0 = tile_group(tiling); i0 < count; i0 += READS * tiling.groups) {
            int channel[READS], at[READS];
            unsigned bits[READS];
            float4 four[READS];
#pragma unroll
            for (int i = 0; i < READS; i++) {
                const int c = i0 + i * tiling.groups;
                channel[i] = c0 + (c < count ? c : count - 1);
                at[i] = (channel[i] * from.H + y) * from.W + x;
                bits[i] = mask_quad(mask, channel[i], from.H, from.W, y, x);
            }
            read_quads(from.first, at, from.W - x, from.W % 4 == 0, four);
#pragma unroll
            for (int i = 0; i < READS; i++) {
                const int c = i0 + i * tiling.groups;
                if (c < count)
                    *(float4*)(to + c * plane.floats + plane.at(y, x)) =
                        masked(from.normed(four[i], channel[i], x), bits[i]);
            }
        }
    }
}

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
