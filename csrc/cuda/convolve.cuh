// ReLU, depthwise convolution (or none), 1x1 convolution, statistics: a block an image and a job; pools in the same launch.
// Channels come in chunks: planes with a border of zeros in shared memory, from them the depthwise results, from those the
// sums over channels in registers, four pixels and R outputs a thread.
#pragma once

#include "pool.cuh"

namespace sgl_fast {

constexpr int PAD = 4;  // what a dilated 5x5 kernel reaches past the border
constexpr int MOST_JOBS = 96;

enum class From { input, state, saved };

struct ConvJob {
    From from;
    int index;              // of the input or state; offset of saved planes
    int from_norm;          // of saved planes
    int in_H, in_W, out_H, out_W;
    int kernel, dilation, stride;
    int first;              // 1: starts at pixel (1, 1), as the second half of a factorised reduction
    int ins, outs, chunk;   // chunk: input channels at a time
    int bits;               // pattern of its ReLU
    bool record;            // whether this job is the one that records it
    int depthwise, pointwise;
    int to_state, z;        // offset of its result: in states, in planes
    int norm;

    __host__ __device__ int taps() const { return kernel == 1 ? 0 : kernel * kernel; }  // of a depthwise convolution
};

struct ConvJobs {
    int convs;  // how many; then come the pools
    ConvJob job[MOST_JOBS];
    PoolJobs pools;
};

// How 256 threads share the output pixels of a job, in groups of four along a row, and its output channels.
struct Tiling {
    int quads_in_row, quads;  // of a plane
    int lanes, groups;        // threads along quads, a power of two, and along channels

    __host__ __device__ Tiling(int H, int W) : quads_in_row((W + 3) / 4), quads(H * quads_in_row), lanes(16) {
        while (lanes < quads && lanes < CELL_THREADS) lanes *= 2;
        groups = CELL_THREADS / lanes;
    }
    __host__ __device__ int tile() const { return lanes < quads ? lanes : quads; }  // quads at a time
};

// A channel of a chunk in shared memory.
struct PaddedPlane {
    int row, floats;
    __host__ __device__ explicit PaddedPlane(const ConvJob& job)
        : row(job.stride * ((job.out_W + 3) / 4 * 4) + 2 * PAD), floats((job.stride * job.out_H + 2 * PAD) * row) {
        if (job.kernel == 1) row = floats = 0;
    }
};

// Floats of shared memory for R outputs a thread.
__host__ __device__ inline int conv_floats(const ConvJob& job, int R) {
    const Tiling tiling(job.out_H, job.out_W);
    return job.chunk * (PaddedPlane(job).floats + 4 * tiling.tile() + job.taps() + tiling.groups * R);
}

__device__ __forceinline__ Planes planes_from(const CellView& cell, const ConvJob& job, int v, int n) {
    if (job.from == From::input) return input_of(cell, job.index, v, n, job.in_H, job.in_W);
    if (job.from == From::state) return state_of(cell, job.index, v, n);
    const float* at = cell.planes_of(v * cell.N + n) + job.index;
    return {at, job.in_H, job.in_W, cell.mean(v) + job.from_norm, cell.scale(v) + job.from_norm};
}

// Channels c0 .. c0 + count - 1 after their ReLU, each in a border of zeros.
__device__ __forceinline__ void load_padded(const Planes& from, const unsigned char* bits, bool replay, int c0, int count,
                                            const PaddedPlane& plane, float* to) {
    for (int i = threadIdx.x; i < count * plane.floats; i += CELL_THREADS) {
        const int channel = i / plane.floats, y = i % plane.floats / plane.row - PAD, x = i % plane.floats % plane.row - PAD;
        const bool inside = y >= 0 && y < from.H && x >= 0 && x < from.W;
        to[i] = inside ? activated(from, bits, replay, c0 + channel, y, x) : 0.0f;
    }
}

// Four neighbouring outputs. at: a padded plane where the window of the first one starts, `row` floats a row. FLIP: the taps
// are turned round, as in the gradient of the input.
template <int K, int D, int S, bool FLIP = false>
__device__ __forceinline__ float4 depthwise_quad(const float* at, int row, const float* w) {
    constexpr int start = PAD - K / 2 * D, width = 4 * S + 2 * PAD;
    float sums[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < K; i++) {
        float window[width];
#pragma unroll
        for (int x = 0; x < width; x += 4) {
            const float4 four = *(const float4*)(at + (start + i * D) * row + x);
            window[x] = four.x;
            window[x + 1] = four.y;
            window[x + 2] = four.z;
            window[x + 3] = four.w;
        }
#pragma unroll
        for (int j = 0; j < K; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) sums[e] += w[FLIP ? K * K - 1 - i * K - j : i * K + j] * window[start + S * e + j * D];
    }
    return make_float4(sums[0], sums[1], sums[2], sums[3]);
}

template <int S, bool FLIP = false>
__device__ __forceinline__ float4 depthwise_quad(int kernel, int dilation, const float* at, int row, const float* w) {
    if (kernel == 3) return dilation == 1 ? depthwise_quad<3, 1, S, FLIP>(at, row, w) : depthwise_quad<3, 2, S, FLIP>(at, row, w);
    return dilation == 1 ? depthwise_quad<5, 1, S, FLIP>(at, row, w) : depthwise_quad<5, 2, S, FLIP>(at, row, w);
}

// What the 1x1 convolution reads, for `count` channels from c0 and the quads from q0 of a tile.
__device__ __forceinline__ void load_deep(const Planes& from, const unsigned char* bits, bool replay, const ConvJob& job,
                                          const Tiling& tiling, int c0, int count, int q0, const float* padded,
                                          const float* taps, float4* deep) {
    const PaddedPlane plane(job);
    const int tile = tiling.tile();
    for (int i = threadIdx.x; i < count * tile; i += CELL_THREADS) {
        const int channel = i / tile, q = q0 + i % tile, y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
        float4 four = make_float4(0, 0, 0, 0);
        if (q < tiling.quads && job.kernel > 1) {
            const float* at = padded + channel * plane.floats + job.stride * (y * plane.row + x);
            const float* w = taps + channel * job.taps();
            four = job.stride == 1 ? depthwise_quad<1>(job.kernel, job.dilation, at, plane.row, w)
                                   : depthwise_quad<2>(job.kernel, job.dilation, at, plane.row, w);
        } else if (q < tiling.quads) {
            const auto read = [&](int column) {
                if (column >= job.out_W) return 0.0f;
                return activated(from, bits, replay, c0 + channel, job.stride * y + job.first, job.stride * column + job.first);
            };
            four = make_float4(read(x), read(x + 1), read(x + 2), read(x + 3));
        }
        deep[i] = four;
    }
}

template <int R>
__device__ __forceinline__ void store_quads(const float (&sums)[R][4], const ConvJob& job, const Tiling& tiling, int q, int out,
                                            float* z) {
    const int y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
    if (q >= tiling.quads) return;
#pragma unroll
    for (int r = 0; r < R; r++) {
        if (out + r >= job.outs) continue;
        float* to = z + ((long long)(out + r) * job.out_H + y) * job.out_W + x;
        if (job.out_W % 4 == 0) {
            *(float4*)to = make_float4(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
            continue;
        }
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (x + e < job.out_W) to[e] = sums[r][e];
    }
}

// One tile of quads from q0 and groups * R outputs from out0.
template <int R>
__device__ __forceinline__ void convolve_tile(const CellView& cell, const ConvJob& job, const Tiling& tiling, const Planes& from,
                                              const unsigned char* bits, const float* weights, int q0, int out0, float* shared,
                                              float* z) {
    const PaddedPlane plane(job);
    const int tile = tiling.tile(), taps = job.taps(), outs = tiling.groups * R;
    float4* deep = (float4*)shared;
    float* padded = shared + job.chunk * 4 * tile;
    float* pointwise = padded + job.chunk * plane.floats;
    float* depthwise = pointwise + job.chunk * outs;
    const int q = threadIdx.x % tiling.lanes, group = threadIdx.x / tiling.lanes;
    float sums[R][4];
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int e = 0; e < 4; e++) sums[r][e] = 0;
    for (int c0 = 0; c0 < job.ins; c0 += job.chunk) {
        const int count = job.ins - c0 < job.chunk ? job.ins - c0 : job.chunk;
        __syncthreads();
        if (taps) load_padded(from, bits, cell.replay, c0, count, plane, padded);
        for (int i = threadIdx.x; i < count * taps; i += CELL_THREADS) depthwise[i] = weights[job.depthwise + c0 * taps + i];
        for (int i = threadIdx.x; i < count * outs; i += CELL_THREADS) {
            const int out = out0 + i % outs;
            pointwise[i] = out < job.outs ? weights[job.pointwise + out * job.ins + c0 + i / outs] : 0.0f;
        }
        __syncthreads();
        load_deep(from, bits, cell.replay, job, tiling, c0, count, q0, padded, depthwise, deep);
        __syncthreads();
        for (int c = 0; c < count && q < tile; c++) {
            const float4 x = deep[c * tile + q];
#pragma unroll
            for (int r = 0; r < R; r++) {
                const float w = pointwise[c * outs + group * R + r];
                sums[r][0] += w * x.x;
                sums[r][1] += w * x.y;
                sums[r][2] += w * x.z;
                sums[r][3] += w * x.w;
            }
        }
    }
    if (q < tile) store_quads<R>(sums, job, tiling, q0 + q, out0 + group * R, z);
}

template <int R> __global__ void __launch_bounds__(CELL_THREADS, R < 16 ? 2 : 0) convolve_kernel(CellView cell, ConvJobs jobs) {
    SHARED_DYNAMIC(float, shared);
    const int image = blockIdx.x, v = image / cell.N, n = image % cell.N;
    if ((int)blockIdx.y >= jobs.convs) return pool(cell, jobs.pools.job[blockIdx.y - jobs.convs], image);
    const ConvJob& job = jobs.job[blockIdx.y];
    const int pixels = job.out_H * job.out_W;
    const Planes from = planes_from(cell, job, v, n);
    unsigned char* bits = cell.pattern_of(image) + job.bits;
    float* z = job.to_state >= 0 ? cell.states + ((long long)image * 2 + job.to_state) * cell.C * pixels + job.z
                                 : cell.planes_of(image) + job.z;
    if (job.record && !cell.replay) record_bits(from, job.ins, bits);
    const Tiling tiling(job.out_H, job.out_W);
    for (int out0 = 0; out0 < job.outs; out0 += tiling.groups * R)
        for (int q0 = 0; q0 < tiling.quads; q0 += tiling.tile())
            convolve_tile<R>(cell, job, tiling, from, bits, cell.weights_of(v), q0, out0, shared, z);
    if (!cell.training) return;
    __syncthreads();
    const long long norm = (long long)image * cell.norms + job.norm;
    measure(z, job.outs, pixels, cell.partial_mean + norm, cell.partial_deviations + norm);
    if (last_of(cell.tickets + v * cell.norms + job.norm, cell.N)) finish_norm(cell, v, job.norm, job.outs, pixels);
}

}  // namespace sgl_fast
