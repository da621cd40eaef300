// Depthwise convolutions of planes in shared memory: strips of rows of four neighbouring outputs, a thread each.
#pragma once

#include "padded.cuh"

namespace sgl_fast {

// sums[s][e] += STRIP rows of four outputs, those of stride 1 D rows apart, others next to each other. at: a padded plane
// where the window of the first output starts, `row` floats a row; `last` more rows follow.
template <int K, int D, int S, int STRIP>
__forceinline__ void depthwise_strip(const float* at, int row, int last, const float* w, float (&sums)[STRIP][4]) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad;
    constexpr int apart = S == 2 && D == 1 ? 2 : 1, rows = apart * (STRIP - 1) + K;  // of windows, in steps of D rows
#pragma unroll(K <= 5 ? rows : 1)
    for (int u = 0; u < rows; u++) {
        float window[width];
        const int below = start + u * D;
        read_fours(at + (below < last ? below : last) * row, window);
#pragma unroll
        for (int s = 0; s < STRIP; s++) {
            const int i = u - apart * s;
            if (i < 0 || i >= K) continue;
#pragma unroll
            for (int j = 0; j < K; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[s][e] += w[i * K + j] * window[start + S * e + j * D];
        }
    }
}

template <int S, int STRIP>
__forceinline__ void depthwise_strip(int kernel, int dilation, const float* at, int row, int last, const float* w,
                                     float (&sums)[STRIP][4]) {
    if (kernel == 3 && dilation == 1) return depthwise_strip<3, 1, S>(at, row, last, w, sums);
    if (kernel == 3) return depthwise_strip<3, 2, S>(at, row, last, w, sums);
    if (kernel == 5 && dilation == 1) return depthwise_strip<5, 1, S>(at, row, last, w, sums);
    if (kernel == 5) return depthwise_strip<5, 2, S>(at, row, last, w, sums);
    if (dilation == 1) return depthwise_strip<7, 1, S>(at, row, last, w, sums);
    depthwise_strip<7, 2, S>(at, row, last, w, sums);
}

// Some channels of a job, `rows` rows of outputs from y0 on, as `threads` threads share them of which this is number `mine`.
// padded, w: of the first channel; to: quads, a row after the other, a tile's from channel to channel.
template <int STRIP>
__forceinline__ void depthwise_rows(const ConvJob& job, const ConvLayout& layout, const float* padded, const float* w,
                                    int channels, int y0, int rows, int threads, int mine, float4* to) {
    const PaddedPlane plane = job.plane();
    const int apart = job.stride == 1 ? job.dilation : 1, quads_in_row = layout.tiling.quads_in_row,
              step = layout.tiling.lanes;
    const Divisor strips = layout.strips[apart - 1];
    for (int i = mine; i < channels * strips; i += threads) {
        const int c = i / strips, in_plane = i - c * strips, strip = in_plane / layout.tiling.quads_in_row,
                  x = in_plane - strip * quads_in_row, odd = strip & (apart - 1), y = (strip - odd) * STRIP + odd;
        if (y >= rows) continue;  // the last tile may have fewer
        const float *at = padded + c * plane.floats + job.stride * ((y0 + y) * plane.row + 4 * x),
                    *taps = w + c * job.taps;
        const int last = job.stride * (job.out_H - y0 - y) + 2 * plane.pad - 1;
        float sums[STRIP][4] = {};
        if (job.stride == 1)
            depthwise_strip<1>(job.kernel, job.dilation, at, plane.row, last, taps, sums);
        else
            depthwise_strip<2>(job.kernel, job.dilation, at, plane.row, last, taps, sums);
#pragma unroll
        for (int s = 0; s < STRIP; s++)
            if (y + s * apart < rows)
                to[c * step + (y + s * apart) * quads_in_row + x] =
                    make_float4(sums[s][0], sums[s][1], sums[s][2], sums[s][3]);
    }
}

}  // namespace sgl_fast
