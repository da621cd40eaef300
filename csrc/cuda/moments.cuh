// Statistics of convolutions and pools from the registers that hold their results: mean and squared deviations of a warp's
// pixels, then of a plane's, of all images.
#pragma once

#include "cell.cuh"

namespace sgl_fast {

__forceinline__ void merge(Moments& to, const Moments& more) {
    const float count = to.count + more.count, share = count > 0 ? more.count / count : 0, off = more.mean - to.mean;
    to.deviations += more.deviations + off * off * to.count * share;
    to.mean += off * share;
    to.count = count;
}

// Of some parts.
__forceinline__ Moments merged(const Moments* parts, int count) {
    Moments all{0, 0, 0};
    for (int k = 0; k < count; k++) {
        all.count += parts[k].count;
        all.mean += parts[k].count * parts[k].mean;
    }
    all.mean /= all.count;
    for (int k = 0; k < count; k++) {
        const float off = parts[k].mean - all.mean;
        all.deviations += parts[k].deviations + parts[k].count * off * off;
    }
    return all;
}

// Of N numbers, a power of two, of each of `span` lanes, the one whose sum lane_sum returns here.
template <int N> __forceinline__ int lane_number() {
    int number = 0;
#pragma unroll
    for (int step = 1; step < N; step *= 2) number += lane() & step ? N / (2 * step) : 0;
    return number;
}

// The sum over the lanes of number lane_number<N>() of each; the others are lost.
template <int N> __forceinline__ float lane_sum(float (&v)[N], int span) {
#pragma unroll
    for (int step = 1; step < N; step *= 2)
#pragma unroll
        for (int i = 0; i < N / (2 * step); i++) {
            const int j = i + N / (2 * step);
            const bool upper = lane() & step;
            const float mine = upper ? v[j] : v[i], other = upper ? v[i] : v[j];
            v[i] = mine + __shfl_xor_sync(WHOLE_WARP, other, step);
        }
#pragma unroll
    for (int step = N; step < WARP; step *= 2) {
        const float other = __shfl_xor_sync(WHOLE_WARP, v[0], step);
        v[0] += step < span ? other : 0;
    }
    return v[0];
}

// To every lane each number that one of N lanes has.
template <int N> __forceinline__ void to_lanes(float mine, float (&v)[N]) {
    v[0] = mine;
#pragma unroll
    for (int step = N / 2; step > 0; step /= 2)
#pragma unroll
        for (int i = 0; i < N / (2 * step); i++) {
            const float other = __shfl_xor_sync(WHOLE_WARP, v[i], step);
            const bool upper = lane() & step;
            v[i + N / (2 * step)] = upper ? v[i] : other;
            v[i] = upper ? other : v[i];
        }
}

// Of the `pixels` first ones of a quad of each of N planes; the others are 0. Each of `span` lanes, at least N, gets those
// of plane lane_number<N>().
template <int N> __forceinline__ Moments moments_of(const float4 (&quads)[N], int pixels, int span) {
    float count = pixels, v[N], means[N];
#pragma unroll
    for (int step = 1; step < WARP; step *= 2) {
        const float other = __shfl_xor_sync(WHOLE_WARP, count, step);
        count += step < span ? other : 0;
    }
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = total_of(quads[i]);
    const float mean = lane_sum(v, span) / (count > 0 ? count : 1);
    to_lanes(mean, means);
#pragma unroll
    for (int i = 0; i < N; i++) {
        const float4& x = quads[i];
        const float m = means[i];
        const float4 off = within(make_float4(x.x - m, x.y - m, x.z - m, x.w - m), 0, pixels);
        v[i] = dot_of(off, off);
    }
    return {count, mean, lane_sum(v, span)};
}

// The first `pixels` pixels of a quad of each of N planes, `plane` pixels from one to the next, of which `count` are there:
// written, and left in `quads` as they are read again, 0 past them. whole: rows start at multiples of 16 bytes.
template <int N>
__forceinline__ void write_quads(const StoragePtr& to, int at, int plane, int count, int pixels, bool whole,
                                 float4 (&quads)[N]) {
    const int one = pixels > 1 ? 1 : 0, two = pixels > 2 ? 2 : 0, three = pixels > 3 ? 3 : 0;
    if (to.half) {
        unsigned short* data = global((unsigned short*)to.data) + at;
#pragma unroll
        for (int i = 0; i < N; i++, data += plane) {
            const float4& x = quads[i];
            const ushort4 bits =
                make_ushort4(float_to_saved(x.x), float_to_saved(x.y), float_to_saved(x.z), float_to_saved(x.w));
            quads[i] =
                make_float4(half_to_float(bits.x), half_to_float(bits.y), half_to_float(bits.z), half_to_float(bits.w));
            if (i >= count) continue;
            if (whole) {
                *(ushort4*)data = bits;
                continue;
            }
            data[three] = three ? bits.w : bits.x;
            data[two] = two ? bits.z : bits.x;
            data[one] = one ? bits.y : bits.x;
            data[0] = bits.x;
        }
    } else {
        float* data = global((float*)to.data) + at;
        if (whole)
#pragma unroll
            for (int i = 0; i < N; i++) {
                if (i < count) *(float4*)(data + i * plane) = quads[i];
            }
        else
#pragma unroll
            for (int i = 0; i < N; i++, data += plane) {
                if (i >= count) continue;
                const float4& x = quads[i];
                data[three] = three ? x.w : x.x;
                data[two] = two ? x.z : x.x;
                data[one] = one ? x.y : x.x;
                data[0] = x.x;
            }
    }
    if (pixels >= 4) return;
#pragma unroll
    for (int i = 0; i < N; i++) quads[i] = within(quads[i], 0, pixels);
}

// As it is kept: of float16 what is left of it.
__forceinline__ float4 as_saved(const StoragePtr& z, const float4& x) {
    if (!z.half) return x;
    return make_float4(half_to_float(float_to_saved(x.x)), half_to_float(float_to_saved(x.y)),
                       half_to_float(float_to_saved(x.z)), half_to_float(float_to_saved(x.w)));
}

// Statistics of `count` norm channels, norm_of(i), from those of `parts` parts of each of the N images, in an order that
// depends on these numbers alone; part_pixels(n * parts + p): of part p. A block.
template <class NormOf, class PartPixels>
__forceinline__ void finish_norms(const CellView& cell, int v, int count, int parts, const NormOf& norm_of,
                                  const PartPixels& part_pixels) {
    const Sharing sharing(count);
    const int all = cell.N * parts, turns = sharing.turns(all);
    for (int first = 0; first < count; first += sharing.items()) {
        const int i = first + sharing.item, c = norm_of(i < count ? i : 0);
        const float* means = cell.partial_mean + (long long)v * all * cell.norms + c;
        const float* deviations = cell.partial_deviations + (long long)v * all * cell.norms + c;
        double size = 0, total = 0, squares = 0;
#pragma unroll 2
        for (int k = 0; k < turns; k++) {
            const int n = sharing.mine + k * sharing.threads;
            const double pixels = part_pixels(n);
            size += pixels;
            total += pixels * means[(long long)n * cell.norms];
            squares += deviations[(long long)n * cell.norms];
        }
        size = sharing.sum(size);
        const double average = sharing.sum(total) / size;
#pragma unroll 2
        for (int k = 0; k < turns; k++) {
            const int n = sharing.mine + k * sharing.threads;
            const double off = means[(long long)n * cell.norms] - average;
            squares += part_pixels(n) * off * off;
        }
        squares = sharing.sum(squares);
        if (sharing.mine != 0 || i >= count) continue;
        float* stats = cell.stats + (long long)v * 3 * cell.norms + c;
        stats[0] = (float)average;
        stats[cell.norms] = (float)(1 / sqrt(squares / size + EPS));
        stats[2 * cell.norms] = (float)(squares / (size - 1));
    }
}

// The same of whole images of `pixels`.
template <class NormOf>
__forceinline__ void finish_norms(const CellView& cell, int v, int count, int pixels, const NormOf& norm_of) {
    finish_norms(cell, v, count, 1, norm_of, [&](int) { return pixels; });
}

}  // namespace sgl_fast
