// ReLU, depthwise convolution (or none), 1x1 convolution, statistics: a block an image and a group of jobs; pools in the same
// launch; neighbouring blocks read the same image. Jobs of a group read the same planes, which are loaded once, with a border
// of zeros, into shared memory. A thread has four pixels of R outputs in registers: the depthwise results of `groups` channels
// at a time pass through shared memory.
#pragma once

#include "pool.cuh"

namespace sgl_fast {

__forceinline__ Planes planes_from(const CellView& cell, const ConvJob& job, int v, int n) {
    if (job.from == From::input) return input_of(cell, job.index, v, n, job.in_H, job.in_W);
    if (job.from == From::state) return state_of(cell, job.index, v, n);
    return {cell.saved_of(v * cell.N + n) + job.index, job.in_H, job.in_W, cell.mean(v) + job.from_norm,
            cell.scale(v) + job.from_norm};
}

// Four neighbouring outputs. at: a padded plane where the window of the first one starts, `row` floats a row. FLIP: the taps
// are turned round, as in the gradient of the input.
template <int K, int D, int S, bool FLIP = false>
__forceinline__ float4 depthwise_quad(const float* at, int row, const float* w) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad;
    float sums[4] = {0, 0, 0, 0};
#pragma unroll(K <= 5 && !FLIP ? K : 1)
    for (int i = 0; i < K; i++) {
        float window[width];
        read_fours(at + (start + i * D) * row, window);
#pragma unroll
        for (int j = 0; j < K; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                sums[e] += w[FLIP ? K * K - 1 - i * K - j : i * K + j] * window[start + S * e + j * D];
    }
    return make_float4(sums[0], sums[1], sums[2], sums[3]);
}

template <int S, bool FLIP = false>
__forceinline__ float4 depthwise_quad(int kernel, int dilation, const float* at, int row, const float* w) {
    if (kernel == 3)
        return dilation == 1 ? depthwise_quad<3, 1, S, FLIP>(at, row, w) : depthwise_quad<3, 2, S, FLIP>(at, row, w);
    if (kernel == 5)
        return dilation == 1 ? depthwise_quad<5, 1, S, FLIP>(at, row, w) : depthwise_quad<5, 2, S, FLIP>(at, row, w);
    return dilation == 1 ? depthwise_quad<7, 1, S, FLIP>(at, row, w) : depthwise_quad<7, 2, S, FLIP>(at, row, w);
}

// The same for a job's kernel; w: of the channel.
__forceinline__ float4 window_quad(const ConvJob& job, const float* at, int row, const float* w) {
    return job.stride == 1 ? depthwise_quad<1>(job.kernel, job.dilation, at, row, w)
                           : depthwise_quad<2>(job.kernel, job.dilation, at, row, w);
}

// What a 1x1 convolution alone reads for four neighbouring outputs.
__forceinline__ float4 strided_quad(const Planes& from, const unsigned char* mask, bool replay, const ConvJob& job,
                                    int channel, int y, int x) {
    if (job.stride == 1) return activated_quad(from, mask, replay, channel, y, x);
    const auto read = [&](int column) {
        if (column >= job.out_W) return 0.0f;
        return activated(from, mask, replay, channel, job.stride * y + job.first, job.stride * column + job.first);
    };
    return make_float4(read(x), read(x + 1), read(x + 2), read(x + 3));
}

// What the 1x1 convolution reads: channel c0 + c, four outputs from (y, x). padded, taps: of channel c0.
__forceinline__ float4 pointwise_in_quad(const Planes& from, const unsigned char* mask, bool replay, const ConvJob& job,
                                         int c0, int c, int y, int x, const float* padded, const float* taps) {
    if (job.kernel == 1) return strided_quad(from, mask, replay, job, c0 + c, y, x);
    const PaddedPlane plane = job.plane();
    return window_quad(job, padded + c * plane.floats + job.stride * (y * plane.row + x), plane.row,
                       taps + c * job.taps());
}

// A job's channels c0 .. c0 + count - 1 after their ReLU.
__forceinline__ void load_activated(const Planes& from, const unsigned char* mask, bool replay, const ConvJob& job,
                                    int c0, int count, float* padded) {
    load_padded(from.H, from.W, count, job.plane(), padded,
                [&](int c, int y, int x) { return activated_quad(from, mask, replay, c0 + c, y, x); });
}

// w[r] of a row of shared memory that starts at a multiple of R floats.
template <int R> __forceinline__ void read_weights(const float* row, float (&w)[R]) {
    if constexpr (R < 4) {
#pragma unroll
        for (int r = 0; r < R; r++) w[r] = row[r];
    } else {
        read_fours(row, w);
    }
}

// Of a block: which planes, and where they go.
struct ConvPlaces {
    Planes from;
    const unsigned char* mask;
    const float* weights;
    StoragePtr z;
};

// One tile of quads from q0 and groups * R outputs from out0. load: the planes are not in shared memory yet.
template <int R>
__forceinline__ void convolve_tile(const CellView& cell, const ConvJob& job, const ConvPlaces& at, const Tiling& tiling,
                                   int q0, int out0, bool load, float* shared) {
    const int taps = job.taps(), outs = tiling.groups * R;
    float4* pointwise_in = (float4*)shared;
    float* padded = shared + POINTWISE_IN_FLOATS;
    float* pointwise = padded + job.padded_floats();
    float* depthwise = pointwise + job.chunk * outs;
    const int group = tile_group(tiling), q = q0 + tile_lane(tiling), y = q / tiling.quads_in_row,
              x = q % tiling.quads_in_row * 4;
    float4 sums[R];
#pragma unroll
    for (int r = 0; r < R; r++) sums[r] = make_float4(0, 0, 0, 0);
    for (int c0 = 0; c0 < job.ins; c0 += job.chunk) {
        const int count = job.ins - c0 < job.chunk ? job.ins - c0 : job.chunk;
        __syncthreads();
        if (taps && load) load_activated(at.from, at.mask, cell.replay, job, c0, count, padded);
        for (int i = threadIdx.x; i < count * taps; i += CELL_THREADS)
            depthwise[i] = at.weights[job.depthwise + c0 * taps + i];
        for (int i = threadIdx.x; i < count * outs; i += CELL_THREADS) {
            const int out = out0 + i % outs;
            pointwise[i] = out < job.outs ? at.weights[job.pointwise + out * job.ins + c0 + i / outs] : 0.0f;
        }
        __syncthreads();
        for (int base = 0; base < count; base += tiling.groups) {
            const bool has = q < tiling.quads && base + group < count;
            pointwise_in[threadIdx.x] =
                has ? pointwise_in_quad(at.from, at.mask, cell.replay, job, c0, base + group, y, x, padded, depthwise)
                    : make_float4(0, 0, 0, 0);
            if (tiling.groups > 1) __syncthreads();
            for (int c = 0; c < tiling.groups && base + c < count; c++) {
                const float4 four = pointwise_in[c * tiling.lanes + tile_lane(tiling)];
                float w[R];
                read_weights<R>(pointwise + (base + c) * outs + group * R, w);
#pragma unroll
                for (int r = 0; r < R; r++) sums[r] += w[r] * four;
            }
            if (tiling.groups > 1) __syncthreads();
        }
    }
    if (q >= tiling.quads) return;
    const int out = out0 + group * R;
#pragma unroll
    for (int r = 0; r < R; r++)
        if (out + r < job.outs)
            write_quad(at.z + ((long long)(out + r) * job.out_H + y) * job.out_W, x, job.out_W, sums[r]);
}

// Where a job's result goes: the states, or saved planes.
__forceinline__ StoragePtr result_at(const CellView& cell, const ConvJob& job, int image) {
    if (job.from != From::input) return cell.saved_of(image) + job.z;
    return {cell.states + (long long)image * 2 * cell.C * job.out_H * job.out_W + job.z, false};
}

__forceinline__ ConvPlaces places_of(const CellView& cell, const ConvJob& job, int image) {
    const int v = image / cell.N;
    return {planes_from(cell, job, v, image % cell.N), cell.pattern_of(image) + job.relu_mask, cell.weights_of(v),
            result_at(cell, job, image)};
}

// The statistics of a result.
__forceinline__ void finish_convolution(const CellView& cell, const ConvJob& job, int image, const StoragePtr& z) {
    if (!cell.training) return;
    const int v = image / cell.N;
    const long long norm = (long long)image * cell.norms + job.norm;
    __syncthreads();
    measure(z, job.outs, job.out_H, job.out_W, cell.partial_mean + norm, cell.partial_deviations + norm);
    if (is_last_block(cell.arrivals + v * cell.norms + job.norm, cell.N))
        finish_norm(cell, v, job.norm, job.outs, job.out_H * job.out_W);
}

// first: of its group.
template <int R>
__forceinline__ void convolve(const CellView& cell, const ConvJob& job, int image, bool first, float* shared) {
    const ConvPlaces at = places_of(cell, job, image);
    if (job.record && !cell.replay) record_mask(at.from, job.ins, cell.pattern_of(image) + job.relu_mask);
    if (first) clear(shared + POINTWISE_IN_FLOATS, job.padded_floats());
    const Tiling tiling(job.out_H, job.out_W);
    bool load = first;
    for (int out0 = 0; out0 < job.outs; out0 += tiling.groups * R)
        for (int q0 = 0; q0 < tiling.quads; q0 += tiling.lanes) {
            convolve_tile<R>(cell, job, at, tiling, q0, out0, load, shared);
            load = job.chunk < job.ins;
        }
    finish_convolution(cell, job, image, at.z);
}

}  // namespace sgl_fast
