// As convolve.cuh, for many channels: the 1x1 convolution by tensor cores, which multiply float16 and add in float32. Each
// factor is split into a float16 and the float16 of what that leaves, and three of the four products are taken, which gives
// about float32's accuracy; a factor beyond 2047 overflows. A block an image and a job; pools in the same launch.
#pragma once

#ifndef CUDASIM
#include <mma.h>
#endif

#include "convolve.cuh"

namespace sgl_fast {

constexpr int CORE = 16;        // channels and pixels of a product
constexpr int WIDE_LANES = 128; // quads of a tile at most
constexpr int WARP_TILES = 4;   // products of CORE x CORE that a warp has in registers
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int WIDE_BLOCKS = 1;  // of a multiprocessor, whose 96 KB of shared memory seldom hold two
#else
constexpr int WIDE_BLOCKS = 2;
#endif
constexpr float LIFT = 32;      // both factors times this: the rest of a small one stays in float16's range

__host__ __device__ inline bool wide(const ConvJob& job) { return job.ins % CORE == 0 && job.outs % CORE == 0; }

// How a job is cut: tiles of pixels, sweeps of rows * CORE outputs.
struct WideShape {
    Tiling tiling;
    int pixels, columns, rows;

    __host__ __device__ explicit WideShape(const ConvJob& job)
        : tiling(job.out_H, job.out_W, WIDE_LANES), pixels(4 * tiling.lanes), columns(pixels / CORE),
          rows(CELL_WARPS * WARP_TILES / columns) {
        if (rows > job.outs / CORE) rows = job.outs / CORE;
    }
    __host__ __device__ int outs() const { return rows * CORE; }
};

__host__ __device__ inline int wide_floats(const ConvJob& job) {
    const WideShape shape(job);
    return shape.outs() * (shape.pixels + CORE) + job.padded_floats() + job.chunk * job.taps();
}

// A number as two of float16.
struct Split {
    unsigned short high, low;
    __device__ explicit Split(float x)
        : high(float_to_half(LIFT * x)), low(float_to_half(LIFT * x - half_to_float(high))) {}
};

// Where things lie in shared memory. Results take the place of what they are made of.
struct WideShared {
    float* results;              // (outs, pixels)
    unsigned short *deep[2];     // (CORE, pixels): high, low
    unsigned short *weights[2];  // (outs, CORE)
    float *padded, *taps;

    __device__ WideShared(const ConvJob& job, const WideShape& shape, float* shared) : results(shared) {
        deep[0] = (unsigned short*)shared;
        deep[1] = deep[0] + CORE * shape.pixels;
        weights[0] = (unsigned short*)(shared + shape.outs() * shape.pixels);
        weights[1] = weights[0] + shape.outs() * CORE;
        padded = shared + shape.outs() * (shape.pixels + CORE);
        taps = padded + job.padded_floats();
    }
};

__device__ __forceinline__ void split_weights(const ConvJob& job, const ConvPlaces& at, const WideShape& shape, int out0, int k0,
                                              const WideShared& shared) {
    for (int i = threadIdx.x; i < shape.outs() * CORE; i += CELL_THREADS) {
        const int out = out0 + i / CORE;
        const Split one(out < job.outs ? at.weights[job.pointwise + out * job.ins + k0 + i % CORE] : 0.0f);
        shared.weights[0][i] = one.high;
        shared.weights[1][i] = one.low;
    }
}

// Channel c of CORE from k0, of which the chunk starts at c0; four pixels.
__device__ __forceinline__ void split_deep(const WideShape& shape, int c, const float4& four, const WideShared& shared) {
    const Split x(four.x), y(four.y), z(four.z), w(four.w);
    const int place = c * shape.pixels + 4 * shape.tiling.mine();
    *(ushort4*)(shared.deep[0] + place) = make_ushort4(x.high, y.high, z.high, w.high);
    *(ushort4*)(shared.deep[1] + place) = make_ushort4(x.low, y.low, z.low, w.low);
}

// CORE channels from k0 into shared memory, for the tile from q0.
__device__ __forceinline__ void load_core(const CellView& cell, const ConvJob& job, const ConvPlaces& at, const WideShape& shape, int out0,
                                          int q0, int k0, const WideShared& shared) {
    const Tiling& tiling = shape.tiling;
    const int q = q0 + tiling.mine(), y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4, taps = job.taps();
    for (int c0 = 0; c0 < CORE; c0 += job.chunk) {
        __syncthreads();
        if (c0 == 0) split_weights(job, at, shape, out0, k0, shared);
        if (taps) load_activated(at.from, at.bits, cell.replay, job, k0 + c0, job.chunk, shared.padded);
        for (int i = threadIdx.x; i < job.chunk * taps; i += CELL_THREADS)
            shared.taps[i] = at.weights[job.depthwise + (k0 + c0) * taps + i];
        __syncthreads();
        for (int c = tiling.group(); c < job.chunk; c += tiling.groups)
            split_deep(shape, c0 + c,
                       q < tiling.quads ? deep_quad(at.from, at.bits, cell.replay, job, k0 + c0, c, y, x, shared.padded, shared.taps)
                                        : make_float4(0, 0, 0, 0),
                       shared);
    }
    __syncthreads();
}

using Accumulator = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, CORE, CORE, CORE, float>;

// The warp's products of the CORE channels in shared memory.
__device__ __forceinline__ void multiply(const WideShape& shape, const WideShared& shared, Accumulator (&sums)[WARP_TILES]) {
    using namespace nvcuda::wmma;
    fragment<matrix_a, CORE, CORE, CORE, __half, row_major> a;
    fragment<matrix_b, CORE, CORE, CORE, __half, row_major> b;
#pragma unroll
    for (int t = 0; t < WARP_TILES; t++) {
        const int tile = warp() + CELL_WARPS * t, row = tile / shape.columns, column = tile % shape.columns;
        if (row >= shape.rows) break;
        const __half* high = (const __half*)shared.deep[0] + column * CORE;
        const __half* low = (const __half*)shared.deep[1] + column * CORE;
        load_matrix_sync(a, (const __half*)shared.weights[0] + row * CORE * CORE, CORE);
        load_matrix_sync(b, low, shape.pixels);
        mma_sync(sums[t], a, b, sums[t]);
        load_matrix_sync(b, high, shape.pixels);
        mma_sync(sums[t], a, b, sums[t]);
        load_matrix_sync(a, (const __half*)shared.weights[1] + row * CORE * CORE, CORE);
        mma_sync(sums[t], a, b, sums[t]);
    }
}

// One tile of quads from q0 and one sweep of outputs from out0.
__device__ __forceinline__ void wide_tile(const CellView& cell, const ConvJob& job, const ConvPlaces& at, const WideShape& shape, int q0,
                                          int out0, const WideShared& shared) {
    const Tiling& tiling = shape.tiling;
    Accumulator sums[WARP_TILES];
#pragma unroll
    for (int t = 0; t < WARP_TILES; t++) nvcuda::wmma::fill_fragment(sums[t], 0.0f);
    for (int k0 = 0; k0 < job.ins; k0 += CORE) {
        load_core(cell, job, at, shape, out0, q0, k0, shared);
        multiply(shape, shared, sums);
    }
    __syncthreads();
#pragma unroll
    for (int t = 0; t < WARP_TILES; t++) {
        const int tile = warp() + CELL_WARPS * t, row = tile / shape.columns, column = tile % shape.columns;
        if (row >= shape.rows) break;
        nvcuda::wmma::store_matrix_sync(shared.results + (row * shape.pixels + column) * CORE, sums[t], shape.pixels,
                                        nvcuda::wmma::mem_row_major);
    }
    __syncthreads();
    const int q = q0 + tiling.mine(), y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
    for (int o = tiling.group(); o < shape.outs() && q < tiling.quads; o += tiling.groups)
        if (out0 + o < job.outs)
            write_quad(at.z + ((long long)(out0 + o) * job.out_H + y) * job.out_W, x, job.out_W,
                       1 / (LIFT * LIFT) * *(const float4*)(shared.results + o * shape.pixels + 4 * tiling.mine()));
}

__device__ __forceinline__ void convolve_wide(const CellView& cell, const ConvJob& job, int image, float* memory) {
    const ConvPlaces at = places_of(cell, job, image);
    if (job.record && !cell.replay) record_bits(at.from, job.ins, cell.pattern_of(image) + job.bits);
    const WideShape shape(job);
    const WideShared shared(job, shape, memory);
    clear(shared.padded, job.padded_floats());
    for (int out0 = 0; out0 < job.outs; out0 += shape.outs())
        for (int q0 = 0; q0 < shape.tiling.quads; q0 += shape.tiling.lanes) wide_tile(cell, job, at, shape, q0, out0, shared);
    finish_convolution(cell, job, image, at.z);
}

__global__ void __launch_bounds__(CELL_THREADS, WIDE_BLOCKS) wide_kernel(CellView cell, ConvJobs jobs) {
    SHARED_DYNAMIC(float, shared);
    const int image = blockIdx.y;
    if ((int)blockIdx.x >= jobs.groups) return pool(cell, jobs.pools.job[blockIdx.x - jobs.groups], image, jobs.room, shared);
    convolve_wide(cell, jobs.job[jobs.group[blockIdx.x].first], image, shared);
}

}  // namespace sgl_fast
