// How planes lie in a thread's scratch memory, and copies between these layouts.
#pragma once

#include <cstddef>

#include "simd.h"

ISA_NAMESPACE_BEGIN

constexpr int WIDE = NATIVE > 4 ? 8 : 4;  // lanes of a vector of a plane's row
constexpr int ROWS = 8;                   // rows of a register block

constexpr int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

// Lanes of the register block for planes of that width. 8 even where 16 exist: shifted reads of 16 floats nearly always
// cross a cache line, and measure 0.6 times as fast on Zen 4.
constexpr int lanes_for(int width) { return width > 4 ? WIDE : 4; }

// A plane with a border of zeros, as the input of a convolution with outputs of H x W. Stride 2: two planes, the even
// columns and the odd ones, so that every tap reads consecutive floats.
struct Padded {
    int H, W, stride, pad, row;  // row: floats from one row to the next
    size_t phase, plane;         // phase: floats from the even columns to the odd ones

    // pad: the border, at least as wide as the largest kernel reaches
    Padded(int H, int W, int stride, int pad) : H(H), W(W), stride(stride), pad(pad) {
        row = round_up(W, lanes_for(W)) + 2 * pad;
        phase = size_t(stride * round_up(H, ROWS) + 2 * pad) * row;
        plane = stride * phase;
    }
};

// A plane whose rows are whole vectors: the sum of gradients, written block by block. Stride 2: even and odd columns.
struct Blocked {
    int row;
    size_t phase, plane;

    Blocked(int H, int W, int stride) {
        row = round_up(W, lanes_for(W));
        phase = size_t(stride * round_up(H, ROWS)) * row;
        plane = stride * phase;
    }
};

// Floats of a plane of consecutive pixels, with room for what the last vectors of rows and rows of blocks overrun.
inline size_t compact_plane(int H, int W) { return round_up(round_up(H, ROWS) * W + 2 * NATIVE, 16); }

INLINE void split_columns(const float* row, int W, float* even, float* odd) {
    int x = 0;
    for (; x + 4 <= W / 2; x += 4) {
        F<4> evens, odds;
        split(load<4>(row + 2 * x), load<4>(row + 2 * x + 4), evens, odds);
        store<4>(even + x, evens);
        store<4>(odd + x, odds);
    }
    for (; x < W / 2; x++) {
        even[x] = row[2 * x];
        odd[x] = row[2 * x + 1];
    }
}

INLINE void join_columns(const float* even, const float* odd, int W, float* row) {
    int x = 0;
    for (; x + 4 <= W / 2; x += 4) {
        F<4> first, second;
        join(load<4>(even + x), load<4>(odd + x), first, second);
        store<4>(row + 2 * x, first);
        store<4>(row + 2 * x + 4, second);
    }
    for (; x < W / 2; x++) {
        row[2 * x] = even[x];
        row[2 * x + 1] = odd[x];
    }
}

// Copies a plane of (stride * H) x (stride * W) pixels into a Padded one and leaves the border as it is.
inline void copy_to_padded(const float* plane, const Padded& p, float* padded) {
    float* origin = padded + p.pad * p.row + p.pad;
    int H = p.stride * p.H, W = p.stride * p.W;
    for (int y = 0; y < H; y++) {
        const float* row = plane + size_t(y) * W;
        if (p.stride == 1)
            __builtin_memcpy(origin + y * p.row, row, W * sizeof(float));
        else
            split_columns(row, W, origin + y * p.row, origin + p.phase + y * p.row);
    }
}

// Copies a Blocked plane of H x W into consecutive pixels.
inline void copy_from_blocked(const float* blocked, const Blocked& b, int stride, int H, int W, float* plane) {
    for (int y = 0; y < H; y++) {
        const float* row = blocked + y * b.row;
        if (stride == 1)
            __builtin_memcpy(plane + size_t(y) * W, row, W * sizeof(float));
        else
            join_columns(row, row + b.phase, W, plane + size_t(y) * W);
    }
}

// A half of a factorised reduction reads the pixels of even rows and columns (first 0) or of odd ones (first 1).
// Copies them out of a Padded plane of stride 2.
inline void subsample(const float* padded, const Padded& p, int first, float* samples) {
    const float* origin = padded + p.pad * p.row + p.pad + first * (p.phase + p.row);
    for (int y = 0; y < p.H; y++) __builtin_memcpy(samples + y * p.W, origin + 2 * y * p.row, p.W * sizeof(float));
}

// Copies both out of a plane of 2H x 2W consecutive pixels.
inline void subsample(const float* plane, int H, int W, float* even, float* odd) {
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            const float* corner = plane + size_t(2 * y) * 2 * W + 2 * x;
            even[y * W + x] = corner[0];
            odd[y * W + x] = corner[2 * W + 1];
        }
}

ISA_NAMESPACE_END
