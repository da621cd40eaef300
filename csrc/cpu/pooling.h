// 3x3 pools with a border of 1, and the 2x2 max-pool of channels that bypass a mixed operation. An argmax is the number
// of the window's pixel that was chosen, row-major, in four bits.
#pragma once

#include <cstdint>

#include "../program.h"
#include "depthwise.h"

ISA_NAMESPACE_BEGIN

// Window n of a row or column starts at pixel step * n - border. The backward gathers: input pixel step * m + parity
// lies in window m + at(parity, i) as its tap i, if has(parity, i).
template <int SIDE, int STEP> struct Windows {
    static constexpr int side = SIDE, step = STEP, border = SIDE == 3, pixels = SIDE * SIDE;
    static constexpr bool has(int parity, int i) { return (parity + border - i) % step == 0; }
    static constexpr int at(int parity, int i) { return (parity + border - i) / step; }

    // Where pixel t of the windows of an output row starts in a Padded plane.
    static const float* pixel(const float* in, const Padded& p, int y, int t) {
        int i = t / side - border, j = t % side - border, odd = step == 2 ? j & 1 : 0;
        return in + (step * y + i + p.pad) * p.row + p.pad + odd * p.phase + (j - odd) / step;
    }
};

// chosen: W numbers, and room for one more
inline void pack_argmax(int* chosen, int W, uint8_t* row) {
    chosen[W] = 0;
    for (int i = 0; i < (W + 1) / 2; i++) row[i] = uint8_t(chosen[2 * i] | chosen[2 * i + 1] << 4);
}

inline void unpack_argmax(const uint8_t* row, int W, int* chosen) {
    for (int i = 0; i < (W + 1) / 2; i++) {
        chosen[2 * i] = row[i] & 15;
        chosen[2 * i + 1] = row[i] >> 4;
    }
}

template <int L, class W, bool REPLAY>
void max_pool(const float* in, const Padded& p, uint8_t* argmax, float* out, int* chosen) {
    for (int y = 0; y < p.H; y++) {
        const float* pixels[W::pixels];
        for (int t = 0; t < W::pixels; t++) pixels[t] = W::pixel(in, p, y, t);
        uint8_t* row = argmax + y * argmax_row(p.W);
        if (REPLAY) unpack_argmax(row, p.W, chosen);
        for (int x = 0; x < p.W; x += L) {
            F<L> best = load<L>(pixels[0] + x);
            I<L> number = REPLAY ? load_int<L>(chosen + x) : I<L>{};
            for (int t = 1; t < W::pixels; t++) {
                F<L> v = load<L>(pixels[t] + x);
                I<L> take = REPLAY ? number == t : (v > best) | (v != v);
                best = select<L>(take, v, best);
                if (!REPLAY) number = take ? I<L>{} + t : number;
            }
            if (!REPLAY) store_int<L>(chosen + x, number);
            store_up_to<L>(out + size_t(y) * p.W + x, best, p.W - x);
        }
        if (!REPLAY) pack_argmax(chosen, p.W, row);
    }
}

// in: a Padded plane; a border that the windows reach is of minus infinity. The first of equal maxima is chosen, and
// the last NaN. row: scratch for one row.
template <class W>
void max_pool(const float* in, const Padded& p, bool replay, uint8_t* argmax, float* out, float* row) {
    int* chosen = (int*)row;
    if (lanes_for(p.W) == WIDE)
        return replay ? max_pool<WIDE, W, true>(in, p, argmax, out, chosen)
                      : max_pool<WIDE, W, false>(in, p, argmax, out, chosen);
    return replay ? max_pool<4, W, true>(in, p, argmax, out, chosen)
                  : max_pool<4, W, false>(in, p, argmax, out, chosen);
}

template <int L, class W, int PY, int PX>
INLINE void max_pool_dgrad_phase(const float* dy, const int* chosen, const Padded& g, float* dx, const Blocked& b) {
    for (int y = 0; y < g.H; y++)
        for (int x = 0; x < b.row; x += L) {
            float* pixels = dx + PX * b.phase + (W::step * y + PY) * b.row + x;
            F<L> sum = load<L>(pixels);
            unrolled<W::pixels>([&](auto t) {
                constexpr int T = t, i = T / W::side, j = T % W::side;
                if constexpr (W::has(PY, i) && W::has(PX, j)) {
                    size_t window = size_t(y + g.pad + W::at(PY, i)) * g.row + g.pad + x + W::at(PX, j);
                    sum += zero_unless<L>(load_int<L>(chosen + window) == T, load<L>(dy + window));
                }
            });
            store<L>(pixels, sum);
        }
}

template <int L, class W>
void max_pool_dgrad(const float* dy, const int* chosen, const Padded& g, float* dx, const Blocked& b) {
    max_pool_dgrad_phase<L, W, 0, 0>(dy, chosen, g, dx, b);
    if constexpr (W::step == 2) {
        max_pool_dgrad_phase<L, W, 0, 1>(dy, chosen, g, dx, b);
        max_pool_dgrad_phase<L, W, 1, 0>(dy, chosen, g, dx, b);
        max_pool_dgrad_phase<L, W, 1, 1>(dy, chosen, g, dx, b);
    }
}

// dx += the input gradient; dy: a Padded plane. chosen: scratch for a plane as dy's.
template <class W>
void max_pool_dgrad(const float* dy, const Padded& g, const uint8_t* argmax, int* chosen, float* dx, const Blocked& b) {
    for (int y = 0; y < g.H; y++)
        unpack_argmax(argmax + y * argmax_row(g.W), g.W, chosen + (y + g.pad) * g.row + g.pad);
    if (lanes_for(g.W) == WIDE)
        max_pool_dgrad<WIDE, W>(dy, chosen, g, dx, b);
    else
        max_pool_dgrad<4, W>(dy, chosen, g, dx, b);
}

// An average pool is a depthwise convolution by ones, over the number of the window's pixels that lie inside the plane.
constexpr float ONES[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};

INLINE int pixels_inside(int window, int stride, int size) {
    int first = stride * window - 1, last = first + 2;
    return 3 - (first < 0) - (last >= size);
}

// out = in / that number: H x W consecutive pixels into rows of `row` floats. across: scratch for one row.
inline void divide_by_counts(const float* in, int H, int W, int stride, float* across, float* out, int row) {
    constexpr int L = 4;
    for (int x = 0; x < round_up(W, L); x++) across[x] = pixels_inside(x, stride, stride * W);
    for (int y = 0; y < H; y++) {
        float down = pixels_inside(y, stride, stride * H);
        for (int x = 0; x < W; x += L) {
            F<L> v = load<L>(in + size_t(y) * W + x) / (down * load<L>(across + x));
            store_up_to<L>(out + size_t(y) * row + x, v, W - x);
        }
    }
}

// in: a Padded plane with a border of zeros. sums: scratch for a compact plane; row: for one row.
inline void avg_pool(const float* in, const Padded& p, float* out, float* sums, float* row) {
    depthwise_for(3, 1, p.stride, p.W).forward(in, p, ONES, sums);
    divide_by_counts(sums, p.H, p.W, p.stride, row, out, p.W);
}

// dx += the input gradient; dy: consecutive pixels. quotients: scratch for a Padded plane; row: for one row.
inline void avg_pool_dgrad(const float* dy, int stride, const Padded& g, float* quotients, float* row, float* dx,
                           const Blocked& b) {
    divide_by_counts(dy, g.H, g.W, stride, row, quotients + g.pad * g.row + g.pad, g.row);
    depthwise_for(3, 1, stride, g.W).dgrad(quotients, g, ONES, dx, b);
}

ISA_NAMESPACE_END
