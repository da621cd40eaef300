// What a convolution reads, for the forward and for gradients: planes after their ReLU, with a border of zeros in shared
// memory, and from there a depthwise convolution's quads.
#pragma once

#include "padded.cuh"

namespace sgl_fast {

__forceinline__ Planes planes_from(const CellView& cell, const ConvJob& job, int v, int n) {
    if (job.from == From::input) return input_of(cell, job.index, v, n, job.in_H, job.in_W);
    if (job.from == From::state) return state_of(cell, job.index, v, n);
    return {cell.saved_of(v * cell.N + n) + job.index, job.in_H, job.in_W, cell.mean(v) + job.from_norm,
            cell.scale(v) + job.from_norm};
}

// Four neighbouring outputs. at: a padded plane where the window of the first one starts, `row` floats a row. FLIP: the taps
// are turned round, as in the gradient of the input.
template <int K, int D, int S, bool FLIP = false>
__forceinline__ float4 depthwise_quad(const float* at, int row, const float* w) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad;
    float sums[4] = {0, 0, 0, 0};
    at += start * row;
    if (FLIP) w += K * K - K;
#pragma unroll(K == 3 || (K == 5 && !FLIP) ? K : 1)
    for (int i = 0; i < K; i++, at += D * row, w += FLIP ? -K : K) {
        float window[width];
        read_fours(at, window);
#pragma unroll
        for (int j = 0; j < K; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) sums[e] += w[FLIP ? K - 1 - j : j] * window[start + S * e + j * D];
    }
    return make_float4(sums[0], sums[1], sums[2], sums[3]);
}

template <int S, bool FLIP = false>
__forceinline__ float4 depthwise_quad(int kernel, int dilation, const float* at, int row, const float* w) {
    if (kernel == 3)
        return dilation == 1 ? depthwise_quad<3, 1, S, FLIP>(at, row, w) : depthwise_quad<3, 2, S, FLIP>(at, row, w);
    if (kernel == 5)
        return dilation == 1 ? depthwise_quad<5, 1, S, FLIP>(at, row, w) : depthwise_quad<5, 2, S, FLIP>(at, row, w);
    return dilation == 1 ? depthwise_quad<7, 1, S, FLIP>(at, row, w) : depthwise_quad<7, 2, S, FLIP>(at, row, w);
}

// The same for a job's kernel; w: of the channel.
__forceinline__ float4 window_quad(const ConvJob& job, const float* at, int row, const float* w) {
    return job.stride == 1 ? depthwise_quad<1>(job.kernel, job.dilation, at, row, w)
                           : depthwise_quad<2>(job.kernel, job.dilation, at, row, w);
}

// What a 1x1 convolution alone reads for four neighbouring outputs.
__forceinline__ float4 strided_quad(const Planes& from, const unsigned char* mask, bool replay, const ConvJob& job,
                                    int channel, int y, int x) {
    if (job.stride == 1) return activated_quad(from, mask, replay, channel, y, x);
    const auto read = [&](int column) {
        if (column >= job.out_W) return 0.0f;
        return activated(from, mask, replay, channel, job.stride * y + job.first, job.stride * column + job.first);
    };
    return make_float4(read(x), read(x + 1), read(x + 2), read(x + 3));
}

// w[r] of a row of shared memory that starts at a multiple of R floats.
template <int R> __forceinline__ void read_weights(const float* row, float (&w)[R]) {
    if constexpr (R < 4) {
#pragma unroll
        for (int r = 0; r < R; r++) w[r] = row[r];
    } else {
        read_fours(row, w);
    }
}

// Where a job's result goes: the states, or saved planes.
__forceinline__ StoragePtr result_at(const CellView& cell, const ConvJob& job, int image) {
    if (job.from != From::input) return cell.saved_of(image) + job.z;
    return {cell.states + (long long)image * 2 * cell.C * job.out_H * job.out_W + job.z, false};
}

}  // namespace sgl_fast
