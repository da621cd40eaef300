// A convolution of one image, one group of channels, by im2col. Its columns: for each tap of each channel, the plane of
// pixels that the tap reads.
#pragma once

#include "convolution.h"
#include "pointwise.h"

ISA_NAMESPACE_BEGIN

// Floats from one plane of columns to the next.
inline size_t columns_plane(const Convolution& s) { return (s.pixels() + 15) / 16 * 16; }

// Floats of scratch that every function here needs.
inline size_t convolution_scratch(const Convolution& s) {
    return (s.columns() + s.outs) * columns_plane(s) + wgrad_scratch(int(s.columns()), int(s.pixels()));
}

// Calls row(column, pixel, count, before, after) for every row of every plane of columns. The row starts at `column`
// and holds `before` zeros, `count` pixels of x, each S-th from `pixel` on, and `after` zeros.
template <int S, class Row> inline void each_row(const Convolution& s, const Row& row) {
    const int64_t K = s.kernel, border = K / 2, out_W = s.out_W();
    size_t plane = 0;
    for (int64_t c = 0; c < s.ins; c++)
        for (int64_t i = 0; i < K; i++)
            for (int64_t j = 0; j < K; j++, plane += columns_plane(s)) {
                const int64_t first = j < border ? (border - j + S - 1) / S : 0, past = (s.W + border - j + S - 1) / S;
                for (int64_t y = 0; y < s.out_H(); y++) {
                    const int64_t row_in = y * S + i - border, end = past < out_W ? past : out_W;
                    const bool inside = row_in >= 0 && row_in < s.H && first < end;
                    const int64_t count = inside ? end - first : 0, before = inside ? first : out_W;
                    row(plane + y * out_W, (c * s.H + row_in) * s.W + first * S + j - border, count, before,
                        out_W - before - count);
                }
            }
}

template <int S> inline void to_columns(const Convolution& s, const float* x, float* columns) {
    each_row<S>(s, [&](size_t column, int64_t pixel, int64_t count, int64_t before, int64_t after) {
        float* next = columns + column;
        for (int64_t i = 0; i < before; i++) *next++ = 0;
        for (int64_t i = 0; i < count; i++) *next++ = x[pixel + i * S];
        for (int64_t i = 0; i < after; i++) *next++ = 0;
    });
}

template <int S> inline void add_columns(const Convolution& s, const float* columns, float* x) {
    each_row<S>(s, [&](size_t column, int64_t pixel, int64_t count, int64_t before, int64_t) {
        for (int64_t i = 0; i < count; i++) x[pixel + i * S] += columns[column + before + i];
    });
}

inline void convolve(const Convolution& s, const float* x, const float* w, float* scratch, float* out) {
    s.stride == 1 ? to_columns<1>(s, x, scratch) : to_columns<2>(s, x, scratch);
    pointwise({w, ptrdiff_t(s.columns()), 1}, int(s.outs), int(s.columns()), scratch, columns_plane(s), out, s.pixels(),
              int(s.pixels()));
}

inline void convolve_input(const Convolution& s, const float* grad, const float* w, float* scratch, float* dx) {
    const size_t plane = columns_plane(s), pixels = s.pixels();
    float* columns = scratch + s.outs * plane;
    for (int64_t o = 0; o < s.outs; o++)
        __builtin_memcpy(scratch + o * plane, grad + o * pixels, pixels * sizeof(float));
    pointwise({w, 1, ptrdiff_t(s.columns())}, int(s.columns()), int(s.outs), scratch, plane, columns, plane,
              int(pixels));
    __builtin_memset(dx, 0, s.ins * s.H * s.W * sizeof(float));
    s.stride == 1 ? add_columns<1>(s, columns, dx) : add_columns<2>(s, columns, dx);
}

// dw += the gradient of this image
inline void convolve_weight(const Convolution& s, const float* grad, const float* x, float* scratch, float* dw) {
    const size_t plane = columns_plane(s);
    s.stride == 1 ? to_columns<1>(s, x, scratch) : to_columns<2>(s, x, scratch);
    pointwise_wgrad(grad, s.pixels(), int(s.outs), scratch, plane, int(s.columns()), int(s.pixels()), dw,
                    scratch + s.columns() * plane);
}

ISA_NAMESPACE_END
