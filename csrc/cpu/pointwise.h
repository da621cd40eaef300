// 1x1 convolutions of one image and their weight gradients; a dgrad is the convolution by the transpose.
#pragma once

#include <cstddef>

#include "geometry.h"

ISA_NAMESPACE_BEGIN

// A matrix of weights, or its transpose: element (o, c) is first[o * o_stride + c * c_stride].
struct Weights {
    const float* first;
    ptrdiff_t o_stride, c_stride;
};

// PB whole vectors of pixels, or (WHOLE false) one of n pixels, for CB output channels.
template <int CB, int PB, bool WHOLE, bool ADD>
INLINE void pointwise_block(Weights w, int ins, const float* in, size_t in_plane, float* out, size_t out_plane, int n) {
    constexpr int L = NATIVE;
    F<L> sums[CB * PB];
#pragma GCC unroll 16
    for (int i = 0; i < CB * PB; i++) sums[i] = F<L>{};
    for (int c = 0; c < ins; c++, in += in_plane, w.first += w.c_stride) {
        F<L> v[PB];
#pragma GCC unroll 2
        for (int p = 0; p < PB; p++) v[p] = load<L>(in + p * L);
#pragma GCC unroll 8
        for (int o = 0; o < CB; o++)
#pragma GCC unroll 2
            for (int p = 0; p < PB; p++) sums[o * PB + p] += w.first[o * w.o_stride] * v[p];
    }
#pragma GCC unroll 8
    for (int o = 0; o < CB; o++)
#pragma GCC unroll 2
        for (int p = 0; p < PB; p++) {
            float* pixels = out + o * out_plane + p * L;
            F<L> total = sums[o * PB + p];
            if constexpr (WHOLE)
                store<L>(pixels, ADD ? total + load<L>(pixels) : total);
            else
                store_first<L>(pixels, ADD ? total + load_first<L>(pixels, n) : total, n);
        }
}

template <int CB, bool ADD>
INLINE void pointwise_rows(Weights w, int ins, const float* in, size_t in_plane, float* out, size_t out_plane,
                           int pixels) {
    constexpr int L = NATIVE;
    int x = 0;
    for (; x + 2 * L <= pixels; x += 2 * L)
        pointwise_block<CB, 2, true, ADD>(w, ins, in + x, in_plane, out + x, out_plane, 0);
    for (; x + L <= pixels; x += L) pointwise_block<CB, 1, true, ADD>(w, ins, in + x, in_plane, out + x, out_plane, 0);
    if (x < pixels) pointwise_block<CB, 1, false, ADD>(w, ins, in + x, in_plane, out + x, out_plane, pixels - x);
}

// out[o][x] = sum over c of w(o, c) * in[c][x]. Input planes must be readable to the end of the last vector; the output
// is written, or with ADD added to, up to the last pixel exactly.
template <bool ADD = false>
inline void pointwise(Weights w, int outs, int ins, const float* in, size_t in_plane, float* out, size_t out_plane,
                      int pixels) {
    constexpr int MANY = NATIVE == 16 ? 8 : 4;
    int o = 0;
    auto next = [&](int channels) {
        w.first += channels * w.o_stride;
        out += channels * out_plane;
        o += channels;
    };
    for (; o + MANY <= outs; next(MANY)) pointwise_rows<MANY, ADD>(w, ins, in, in_plane, out, out_plane, pixels);
    for (; o + 4 <= outs; next(4)) pointwise_rows<4, ADD>(w, ins, in, in_plane, out, out_plane, pixels);
    for (; o < outs; next(1)) pointwise_rows<1, ADD>(w, ins, in, in_plane, out, out_plane, pixels);
}

// The sums of 16 vectors.
inline void sums_of_16(const F<NATIVE>* v, float* sums) {
    constexpr int L = WIDE;
    F<L> halves[16];
    for (int i = 0; i < 16; i++) {
        if constexpr (NATIVE == 16) {
            F<L> parts[2];
            __builtin_memcpy(parts, &v[i], sizeof parts);
            halves[i] = parts[0] + parts[1];
        } else {
            __builtin_memcpy(&halves[i], &v[i], sizeof halves[i]);
        }
    }
    for (int i = 0; i < 16; i += L) store<L>(sums + i, sum_each<L>(halves + i));
}

// sums[4 * i + j] += dy[i] * in[j], a vector of each; of n pixels where it is not whole.
template <bool WHOLE>
INLINE void wgrad_step(const float* const* dy, const float* const* in, int x, int n, F<NATIVE>* sums) {
    constexpr int L = NATIVE;
    F<L> a[4], b[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[i] = WHOLE ? load<L>(dy[i] + x) : load_first<L>(dy[i] + x, n);
        b[i] = WHOLE ? load<L>(in[i] + x) : load_first<L>(in[i] + x, n);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) sums[i] += a[i / 4] * b[i % 4];
}

// dw[o][c] += sum over x of dy[o][x] * in[c][x] for 4 x 4 channels, of which `outs` x `ins` exist.
inline void wgrad_block(const float* dy, size_t dy_plane, int outs, const float* in, size_t in_plane, int ins,
                        int pixels, float* dw, int dw_row) {
    const float *g[4], *v[4];
    for (int i = 0; i < 4; i++) {
        g[i] = dy + (i < outs ? i : 0) * dy_plane;
        v[i] = in + (i < ins ? i : 0) * in_plane;
    }
    F<NATIVE> sums[16] = {};
    int x = 0;
    for (; x + NATIVE <= pixels; x += NATIVE) wgrad_step<true>(g, v, x, 0, sums);
    if (x < pixels) wgrad_step<false>(g, v, x, pixels - x, sums);
    float totals[16];
    sums_of_16(sums, totals);
    for (int i = 0; i < outs; i++)
        for (int j = 0; j < ins; j++) dw[i * dw_row + j] += totals[i * 4 + j];
}

// out[x][c] = in[c][x], rows of `out_row` floats
inline void transpose(const float* in, size_t in_plane, int channels, int pixels, float* out, int out_row) {
    constexpr int B = WIDE;
    auto whole = [&](int c, int x) {
        F<B> v[B];
        for (int i = 0; i < B; i++) v[i] = load<B>(in + (c + i) * in_plane + x);
        transpose_square<B>(v);
        for (int i = 0; i < B; i++) store<B>(out + size_t(x + i) * out_row + c, v[i]);
    };
    for (int c = 0; c < channels; c += B)
        for (int x = 0; x < pixels; x += B) {
            if (c + B <= channels && x + B <= pixels) {
                whole(c, x);
                continue;
            }
            for (int i = c; i < channels && i < c + B; i++)
                for (int j = x; j < pixels && j < x + B; j++) out[size_t(j) * out_row + i] = in[i * in_plane + j];
        }
}

// Floats of scratch that pointwise_wgrad needs.
inline size_t wgrad_scratch(int ins, int pixels) { return size_t(round_up(ins, 16)) * pixels; }

// dw[o][c] += sum over x of dy[o][x] * in[c][x]. Few channels: dot products along pixels; many: an outer product a
// pixel, vectors along channels.
inline void pointwise_wgrad(const float* dy, size_t dy_plane, int outs, const float* in, size_t in_plane, int ins,
                            int pixels, float* dw, float* scratch) {
    if (ins >= 16) {
        int row = round_up(ins, 16);
        transpose(in, in_plane, ins, pixels, scratch, row);
        for (int x = 0; x < pixels; x += 128) {  // short sums lose fewer bits of float32
            Weights part{dy + x, ptrdiff_t(dy_plane), 1};
            int n = pixels - x < 128 ? pixels - x : 128;
            pointwise<true>(part, outs, n, scratch + size_t(x) * row, row, dw, ins, ins);
        }
        return;
    }
    for (int o = 0; o < outs; o += 4)
        for (int c = 0; c < ins; c += 4)
            wgrad_block(dy + o * dy_plane, dy_plane, outs - o < 4 ? outs - o : 4, in + c * in_plane, in_plane,
                        ins - c < 4 ? ins - c : 4, pixels, dw + size_t(o) * ins + c, ins);
}

ISA_NAMESPACE_END
