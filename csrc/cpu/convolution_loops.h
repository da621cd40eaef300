// A group of one image by its columns: for each tap of each channel, the plane of pixels that the tap reads.
#pragma once

#include "convolution.h"
#include "pointwise.h"

ISA_NAMESPACE_BEGIN

// Floats from one plane of columns to the next.
inline size_t columns_plane(const Convolution& s) { return (s.pixels() + 15) / 16 * 16; }

// Room that every function here needs.
inline size_t convolution_room(const Convolution& s) {
    return (s.columns() + s.outs) * columns_plane(s) + gram_scratch(int(s.columns()), int(s.pixels()));
}

// Calls row(to, from, count, before, after) for every row of every plane of columns: `to` is where the row starts, of which
// `count` pixels, after `before` and ahead of `after` that lie outside the image, are each S-th of x from `from` on.
template <int S, class Row> inline void each_row(const Convolution& s, const Row& row) {
    const int64_t K = s.kernel, border = K / 2, out_W = s.out_W();
    size_t plane = 0;
    for (int64_t c = 0; c < s.ins; c++)
        for (int64_t i = 0; i < K; i++)
            for (int64_t j = 0; j < K; j++, plane += columns_plane(s)) {
                const int64_t first = j < border ? (border - j + S - 1) / S : 0, past = (s.W + border - j + S - 1) / S;
                for (int64_t y = 0; y < s.out_H(); y++) {
                    const int64_t from = y * S + i - border, end = past < out_W ? past : out_W;
                    const bool inside = from >= 0 && from < s.H && first < end;
                    const int64_t count = inside ? end - first : 0, before = inside ? first : out_W;
                    row(plane + y * out_W, (c * s.H + from) * s.W + first * S + j - border, count, before,
                        out_W - before - count);
                }
            }
}

template <int S> inline void to_columns(const Convolution& s, const float* x, float* columns) {
    each_row<S>(s, [&](size_t to, int64_t from, int64_t count, int64_t before, int64_t after) {
        float* at = columns + to;
        for (int64_t i = 0; i < before; i++) *at++ = 0;
        for (int64_t i = 0; i < count; i++) *at++ = x[from + i * S];
        for (int64_t i = 0; i < after; i++) *at++ = 0;
    });
}

template <int S> inline void add_columns(const Convolution& s, const float* columns, float* x) {
    each_row<S>(s, [&](size_t to, int64_t from, int64_t count, int64_t before, int64_t) {
        for (int64_t i = 0; i < count; i++) x[from + i * S] += columns[to + before + i];
    });
}

inline void convolve(const Convolution& s, const float* x, const float* w, float* room, float* out) {
    s.stride == 1 ? to_columns<1>(s, x, room) : to_columns<2>(s, x, room);
    pointwise({w, ptrdiff_t(s.columns()), 1}, int(s.outs), int(s.columns()), room, columns_plane(s), out, s.pixels(),
              int(s.pixels()));
}

inline void convolve_input(const Convolution& s, const float* grad, const float* w, float* room, float* dx) {
    const size_t plane = columns_plane(s), pixels = s.pixels();
    float* columns = room + s.outs * plane;
    for (int64_t o = 0; o < s.outs; o++) __builtin_memcpy(room + o * plane, grad + o * pixels, pixels * sizeof(float));
    pointwise({w, 1, ptrdiff_t(s.columns())}, int(s.columns()), int(s.outs), room, plane, columns, plane, int(pixels));
    __builtin_memset(dx, 0, s.ins * s.H * s.W * sizeof(float));
    s.stride == 1 ? add_columns<1>(s, columns, dx) : add_columns<2>(s, columns, dx);
}

// dw += this image's
inline void convolve_weight(const Convolution& s, const float* grad, const float* x, float* room, float* dw) {
    const size_t plane = columns_plane(s);
    s.stride == 1 ? to_columns<1>(s, x, room) : to_columns<2>(s, x, room);
    gram(grad, s.pixels(), int(s.outs), room, plane, int(s.columns()), int(s.pixels()), dw, room + s.columns() * plane);
}

ISA_NAMESPACE_END
