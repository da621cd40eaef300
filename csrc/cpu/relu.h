// ReLU of a plane and its backward by the mask: one bit a pixel, recorded in the forward or replayed from an earlier
// one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../program.h"
#include "geometry.h"

ISA_NAMESPACE_BEGIN

// The bits of the L pixels of a row from x on; L = 4 takes half a byte.
template <int L> INLINE unsigned mask_bits(const uint8_t* row, int x) {
    return L == 8 ? row[x / 8] : (row[x / 8] >> (x % 8)) & 15;
}

template <int L> INLINE void set_mask_bits(uint8_t* row, int x, unsigned bits) {
    row[x / 8] = uint8_t(x % 8 ? row[x / 8] | (bits << (x % 8)) : bits);
}

// out[x] = max(0, (in[x] - mean) * scale) for W pixels, then zeros to the end of the vector. With REPLAY the mask
// decides in place of the maximum; without, it is recorded.
template <int L, bool REPLAY>
INLINE void relu_row(const float* in, int W, float mean, float scale, uint8_t* mask, float* out) {
    for (int x = 0; x < W; x += L) {
        F<L> v = (load_up_to<L>(in + x, W - x) - mean) * scale;
        unsigned open;
        if constexpr (REPLAY) {
            open = mask_bits<L>(mask, x);
        } else {
            open = open_lanes<L>(v);
            if (W - x < L) open &= (1u << (W - x)) - 1;
            set_mask_bits<L>(mask, x, open);
        }
        store<L>(out + x, keep<L>(v, open));
    }
}

// A plane that a ReLU reads, normalised as (z - mean) * scale, and its mask.
struct Relu {
    const float* z;
    float mean, scale;
    uint8_t* mask;
    bool replay;
};

// Row y goes to out(y); done(y) is called after it.
template <int L, bool REPLAY, class Out, class Done>
INLINE void relu_rows(const Relu& r, int H, int W, const Out& out, const Done& done) {
    for (int y = 0; y < H; y++) {
        relu_row<L, REPLAY>(r.z + size_t(y) * W, W, r.mean, r.scale, r.mask + y * mask_row(W), out(y));
        done(y);
    }
}

template <class Out, class Done> INLINE void relu_rows(const Relu& r, int H, int W, const Out& out, const Done& done) {
    if (lanes_for(W) == WIDE)
        return r.replay ? relu_rows<WIDE, true>(r, H, W, out, done) : relu_rows<WIDE, false>(r, H, W, out, done);
    return r.replay ? relu_rows<4, true>(r, H, W, out, done) : relu_rows<4, false>(r, H, W, out, done);
}

// ReLU of a plane into a Padded one, whose border is left as it is. row: scratch for one row.
inline void relu_to_padded(const Relu& r, const Padded& p, float* out, float* row) {
    float* origin = out + p.pad * p.row + p.pad;
    auto padded_row = [&](int y) { return origin + y * p.row; };
    auto split = [&](int y) { split_columns(row, 2 * p.W, origin + y * p.row, origin + p.phase + y * p.row); };
    if (p.stride == 1) return relu_rows(r, p.H, p.W, padded_row, [](int) {});
    relu_rows(
        r, 2 * p.H, 2 * p.W, [&](int) { return row; }, split);
}

// ReLU of a plane into consecutive pixels; the last row overruns by up to a vector.
inline void relu_to_compact(const Relu& r, int H, int W, float* out) {
    relu_rows(
        r, H, W, [&](int y) { return out + size_t(y) * W; }, [](int) {});
}

// The sums that a batch norm's backward needs: of dy, and of dy * (z - mean).
struct DySums {
    float dy, dy_xmu;
};

// dz = dy where the mask is on, else 0; dy in rows that are `row` floats apart, dz in consecutive pixels. With z, the
// plane that the ReLU read before its norm, the sums over dz; without, zeros.
template <int L>
INLINE DySums relu_dgrad(const float* dy, int row, const uint8_t* mask, int H, int W, const float* z, float mean,
                         float* dz) {
    F<L> sum_dy = {}, sum_dy_xmu = {};
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x += L) {
            size_t pixel = size_t(y) * W + x;
            F<L> g = keep<L>(load<L>(dy + y * row + x), mask_bits<L>(mask + y * mask_row(W), x));
            if (z) {
                sum_dy += g;
                sum_dy_xmu += g * (load_up_to<L>(z + pixel, W - x) - mean);
            }
            store_up_to<L>(dz + pixel, g, W - x);
        }
    return z ? DySums{sum<L>(sum_dy), sum<L>(sum_dy_xmu)} : DySums{0, 0};
}

inline DySums relu_dgrad(const float* dy, int row, const uint8_t* mask, int H, int W, const float* z, float mean,
                         float* dz) {
    return lanes_for(W) == WIDE ? relu_dgrad<WIDE>(dy, row, mask, H, W, z, mean, dz)
                                : relu_dgrad<4>(dy, row, mask, H, W, z, mean, dz);
}

// The same without the sums. Apart, so that the compiler drops them.
inline void relu_dgrad(const float* dy, int row, const uint8_t* mask, int H, int W, float* dz) {
    if (lanes_for(W) == WIDE)
        relu_dgrad<WIDE>(dy, row, mask, H, W, nullptr, 0, dz);
    else
        relu_dgrad<4>(dy, row, mask, H, W, nullptr, 0, dz);
}

ISA_NAMESPACE_END
