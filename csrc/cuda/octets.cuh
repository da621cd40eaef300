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

// An octet of some consecutive planes.
struct Octet {
    float4 quads[2];
    float mean, scale;
    unsigned byte;
    int number;

    // Number `wanted`, or past the last one that, of `count` channels from c0 on. given: the pattern that is replayed, or null.
    __forceinline__ void read(const Planes& from, const OctetTiling& octets, int c0, int count, int wanted,
                              const unsigned char* given) {
        const int each = from.H * octets.in_row, i = wanted < count * each ? wanted : count * each - 1, x = octets.x(i),
                  c = c0 + octets.plane(i);
        const int at[1] = {(c * from.H + octets.y(i)) * from.W + x}, left[1] = {from.W - x};
        number = wanted;
        mean = from.mean ? from.mean[c] : 0;
        scale = from.mean ? from.scale[c] : 1;
        byte = given ? given[c0 * each + i] : 0;
        read_octets(from.first, at, left, from.W, quads);
    }
    // Into planes that share borders, each H x W. RELU: whether there is one; record: where its pattern goes, or null.
    template <bool RELU>
    __forceinline__ void write(const OctetTiling& octets, int H, int W, int c0, const PaddedPlane& plane, bool replay,
                               unsigned char* record, float* padded) const {
        const int i = anew(number), x = octets.x(i), left = W - x;
        const auto norm = [&](const float4& x) {
            return make_float4((x.x - mean) * scale, (x.y - mean) * scale, (x.z - mean) * scale, (x.w - mean) * scale);
        };
        const float4 a = within(norm(quads[0]), 0, left), b = within(norm(quads[1]), 4, left);
        const unsigned bits = !RELU ? 255 : replay ? byte : open_bits(a) | open_bits(b) << 4;
        float* to = padded + octets.plane(i) * plane.next() + plane.at(octets.y(i), x);
        *(float4*)to = masked(a, bits);
        if (left > 4) *(float4*)(to + 4) = masked(b, bits >> 4);
        if (record) record[c0 * H * octets.in_row + i] = (unsigned char)bits;
    }
};

}  // namespace sgl_fast
