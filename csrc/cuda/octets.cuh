// A state's planes on their way to shared memory: eight pixels of a row at a time, after norm and ReLU; their pattern is a
// byte.
#pragma once

#include "padded.cuh"

namespace sgl_fast {

// Two quads each from N places of a row of W on, of which left[i] pixels are there; the others are any. All loads start
// before a result is used.
template <int N>
__forceinline__ void read_octets(const StoragePtr& from, const int (&at)[N], const int (&left)[N], int W,
                                 float4 (&to)[2 * N]) {
    const auto scalars = [&](const auto* data, int i, int e, const auto& as_float) {
        const auto one = [&](int k) { return data[at[i] + (e + k < left[i] ? e + k : left[i] - 1)]; };
        const auto a = one(0), b = one(1), c = one(2), d = one(3);
        return make_float4(as_float(a), as_float(b), as_float(c), as_float(d));
    };
    if (from.half) {
        const unsigned short* data = global((const unsigned short*)from.data);
        const auto as_float = [](unsigned short x) { return half_to_float(x); };
        if (W % 4 == 0) {
#pragma unroll
            for (int i = 0; i < 2 * N; i++) {
                const ushort4 x = *(const ushort4*)(data + at[i / 2] + (i % 2 && left[i / 2] > 4 ? 4 : 0));
                to[i] = make_float4(as_float(x.x), as_float(x.y), as_float(x.z), as_float(x.w));
            }
        } else {
#pragma unroll
            for (int i = 0; i < 2 * N; i++) to[i] = scalars(data, i / 2, i % 2 * 4, as_float);
        }
    } else {
        const float* data = global((const float*)from.data);
        if (W % 4 == 0) {
#pragma unroll
            for (int i = 0; i < 2 * N; i++)
                to[i] = *(const float4*)(data + at[i / 2] + (i % 2 && left[i / 2] > 4 ? 4 : 0));
        } else {
#pragma unroll
            for (int i = 0; i < 2 * N; i++) to[i] = scalars(data, i / 2, i % 2 * 4, [](float x) { return x; });
        }
    }
}

__forceinline__ unsigned open_bits(const float4& x) {
    return is_open(x.x) | is_open(x.y) << 1 | is_open(x.z) << 2 | is_open(x.w) << 3;
}

// N octets of a thread, from number `first` of `count` channels on, every `by`th one; past the last one again that one.
template <int N> struct Octets {
    float4 quads[2 * N];
    float mean[N], scale[N];
    unsigned byte[N];
    int place[N];  // in the padded planes; -1: none
    int left[N], mask[N];

    // given: the pattern that is replayed, or null.
    __forceinline__ void read(const Planes& from, const OctetTiling& octets, int c0, int count,
                              const PaddedPlane& plane, int first, int by, const unsigned char* given) {
        const int each = from.H * octets.in_row, all = count * each;
        int at[N];
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int i = first + k * by < all ? first + k * by : all - 1, x = octets.x(i), y = octets.y(i),
                      c = octets.plane(i);
            at[k] = ((c0 + c) * from.H + y) * from.W + x;
            left[k] = from.W - x;
            mask[k] = c0 * each + i;
            place[k] = first + k * by < all ? c * plane.floats + plane.at(y, x) : -1;
            mean[k] = from.mean ? from.mean[c0 + c] : 0;
            scale[k] = from.mean ? from.scale[c0 + c] : 1;
            byte[k] = given ? given[mask[k]] : 0;
        }
        read_octets(from.first, at, left, from.W, quads);
    }
    // RELU: whether there is one; record: where its pattern goes, or null.
    template <bool RELU> __forceinline__ void write(bool replay, unsigned char* record, float* padded) const {
#pragma unroll
        for (int k = 0; k < N; k++) {
            if (place[k] < 0) continue;
            const float m = mean[k], s = scale[k];
            const auto norm = [&](const float4& x) {
                return make_float4((x.x - m) * s, (x.y - m) * s, (x.z - m) * s, (x.w - m) * s);
            };
            const float4 a = within(norm(quads[2 * k]), 0, left[k]), b = within(norm(quads[2 * k + 1]), 4, left[k]);
            const unsigned bits = !RELU ? 255 : replay ? byte[k] : open_bits(a) | open_bits(b) << 4;
            *(float4*)(padded + place[k]) = masked(a, bits);
            if (left[k] > 4) *(float4*)(padded + place[k] + 4) = masked(b, bits >> 4);
            if (record) record[mask[k]] = (unsigned char)bits;
        }
    }
};

}  // namespace sgl_fast
