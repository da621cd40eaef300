// Depthwise convolutions of planes in shared memory: strips of rows of four neighbouring outputs, a thread each.
#pragma once

#include "padded.cuh"

namespace sgl_fast {

// sums[s][e] += STRIP rows of four outputs, those of stride 1 D rows apart, others next to each other. at: a padded plane
// where the window of the first output starts, `row` floats a row; `last` more rows follow.
template <int K, int D, int S, int FROM, int COUNT, int STRIP>
__forceinline__ void depthwise_strip(const float* at, int row, int last, const float* w, float (&sums)[STRIP][4]) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad;
    constexpr int apart = S == 2 && D == 1 ? 2 : 1, rows = apart * (COUNT - 1) + K;  // of windows, in steps of D rows
#pragma unroll(K <= 5 ? rows : 1)
    for (int u = 0; u < rows; u++) {
        float window[width];
        const int below = start + (u + apart * FROM) * D;
        read_some<start, start + S * 3 + (K - 1) * D>(at + (below < last ? below : last) * row, window);
#pragma unroll
        for (int s = FROM; s < FROM + COUNT; s++) {
            const int i = u - apart * (s - FROM);
            if (i < 0 || i >= K) continue;
#pragma unroll
            for (int j = 0; j < K; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[s][e] += w[i * K + j] * window[start + S * e + j * D];
        }
    }
}

// A row after the other, from number s on, which needs fewer registers.
template <int K, int S, int s, int STRIP>
__forceinline__ void depthwise_rows(int dilation, const float* at, int row, int last, const float* w,
                                    float (&sums)[STRIP][4]) {
    if (dilation == 1)
        depthwise_strip<K, 1, S, s, 1>(at, row, last, w, sums);
    else
        depthwise_strip<K, 2, S, s, 1>(at, row, last, w, sums);
    if constexpr (s + 1 < STRIP) depthwise_rows<K, S, s + 1>(dilation, at, row, last, w, sums);
}

template <int S, int STRIP>
__forceinline__ void depthwise_strip(int kernel, int dilation, const float* at, int row, int last, const float* w,
                                     float (&sums)[STRIP][4]) {
    if (kernel == 3 && dilation == 1) return depthwise_strip<3, 1, S, 0, STRIP>(at, row, last, w, sums);
    if (kernel == 3) return depthwise_strip<3, 2, S, 0, STRIP>(at, row, last, w, sums);
    if (kernel == 5 && dilation == 1) return depthwise_strip<5, 1, S, 0, STRIP>(at, row, last, w, sums);
    if (kernel == 5) return depthwise_strip<5, 2, S, 0, STRIP>(at, row, last, w, sums);
    depthwise_rows<7, S, 0>(dilation, at, row, last, w, sums);
}

// A thread's STRIP rows of four outputs of a depthwise convolution.
template <int STRIP> struct Strip {
    int c;           // channel, -1: none
    int y, x, left;  // the first row's, in the plane; rows of the tile from there on
    int first, by;   // which quad of a batch's, and of the next row
    float sums[STRIP][4];

    // Number `mine` of some channels of a job, in a tile of `rows` rows from y0 on. before: quads before those of the job.
    __forceinline__ void place(const ConvJob& job, const ConvLayout& layout, int channels, int y0, int rows, int mine,
                               int before) {
        const int apart = job.stride == 1 ? job.dilation : 1, quads_in_row = layout.tiling.quads_in_row;
        const Divisor& strips = layout.strips[apart - 1];
        c = mine / strips;
        const int in_plane = mine - c * strips, strip = in_plane / layout.tiling.quads_in_row,
                  odd = strip & (apart - 1), row = (strip - odd) * STRIP + odd;
        x = 4 * (in_plane - strip * quads_in_row);
        y = y0 + row;
        left = rows - row;
        first = before + in_plane + (row - strip) * quads_in_row;
        by = apart * quads_in_row;
        if (c >= channels || left <= 0) c = -1;  // the last tile may have fewer
        left = left > (STRIP - 1) * apart ? STRIP : (left + apart - 1) >> (apart - 1);
    }
    // A depthwise convolution's outputs. padded, w: of the first channel.
    __forceinline__ void convolve(const ConvJob& job, const ConvLayout& layout, const float* padded, const float* w) {
#pragma unroll
        for (int s = 0; s < STRIP; s++)
#pragma unroll
            for (int e = 0; e < 4; e++) sums[s][e] = 0;
        if (c < 0) return;
        const int row = layout.plane.row, last = job.stride * (job.out_H - y) + 2 * layout.plane.pad - 1;
        const float *at = padded + c * layout.plane.next() + job.stride * (y * row + x), *taps = w + c * job.taps;
        if (job.stride == 1)
            depthwise_strip<1>(job.kernel, job.dilation, at, row, last, taps, sums);
        else
            depthwise_strip<2>(job.kernel, job.dilation, at, row, last, taps, sums);
    }
    // Channels c0 .. c0 + count - 1, to quads of tiles of `lanes`, from channel to channel.
    __forceinline__ void write(int c0, int count, int lanes, float4* to) const {
        if (c < c0 || c >= c0 + count) return;
        float4* at = to + (c - c0) * lanes + first;
        if (left == STRIP) {
#pragma unroll
            for (int s = 0; s < STRIP; s++) at[s * by] = make_float4(sums[s][0], sums[s][1], sums[s][2], sums[s][3]);
        } else {
#pragma unroll
            for (int s = 0; s < STRIP - 1; s++)
                if (s < left) at[s * by] = make_float4(sums[s][0], sums[s][1], sums[s][2], sums[s][3]);
        }
    }
};

}  // namespace sgl_fast
