// As convolve.cuh, for many channels: the 1x1 convolution on tensor cores. Both factors are scaled by LIFT before they are rounded
// to float16, so that |x| > 65504 / LIFT = 2047 overflows to infinity. A block an image and a job; pools in the same launch.
#pragma once

#include "convolve.cuh"
#include "core.cuh"

namespace sgl_fast {

constexpr int WIDE_LANES = 128; // quads of a tile at most
constexpr int WARP_TILES = 4;   // products of CORE x CORE that a warp has in registers
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int WIDE_BLOCKS = 1;  // of a multiprocessor, whose 96 KB of shared memory seldom hold two
#else
constexpr int WIDE_BLOCKS = 2;
#endif

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

// Where things lie in shared memory. Results take the place of what they are made of.
struct WideShared {
    float* results;  // (outs, pixels)
    Parts deep;      // (CORE, pixels)
    Parts weights;   // (outs, CORE)
    float *padded, *taps;

    __device__ WideShared(const ConvJob& job, const WideShape& shape, float* shared)
        : results(shared), deep{(unsigned short*)shared, (unsigned short*)shared + CORE * shape.pixels, shape.pixels} {
        unsigned short* after = (unsigned short*)(shared + shape.outs() * shape.pixels);
        weights = {after, after + shape.outs() * CORE, CORE};
        padded = shared + shape.outs() * (shape.pixels + CORE);
        taps = padded + job.padded_floats();
    }
};

__device__ __forceinline__ void split_weights(const ConvJob& job, const ConvPlaces& at, const WideShape& shape, int out0, int k0,
                                              const Parts& parts) {
    for (int i = threadIdx.x; i < shape.outs() * CORE; i += CELL_THREADS) {
        const int out = out0 + i / CORE;
        parts.set(i, out < job.outs ? LIFT * at.weights[job.pointwise + out * job.ins + k0 + i % CORE] : 0.0f);
    }
}

// CORE channels from k0 into shared memory, for the tile from q0.
__device__ __forceinline__ void load_core(const CellView& cell, const ConvJob& job, const ConvPlaces& at, const WideShape& shape, int out0,
                                          int q0, int k0, const WideShared& shared) {
    const Tiling& tiling = shape.tiling;
    const int q = q0 + tiling.mine(), y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4, taps = job.taps();
    for (int c0 = 0; c0 < CORE; c0 += job.chunk) {
        __syncthreads();
        if (c0 == 0) split_weights(job, at, shape, out0, k0, shared.weights);
        if (taps) load_activated(at.from, at.bits, cell.replay, job, k0 + c0, job.chunk, shared.padded);
        for (int i = threadIdx.x; i < job.chunk * taps; i += CELL_THREADS)
            shared.taps[i] = at.weights[job.depthwise + (k0 + c0) * taps + i];
        __syncthreads();
        for (int c = tiling.group(); c < job.chunk; c += tiling.groups)
            shared.deep.set((c0 + c) * shape.pixels + 4 * tiling.mine(),
                            q >= tiling.quads ? make_float4(0, 0, 0, 0)
                                              : LIFT * deep_quad(at.from, at.bits, cell.replay, job, k0 + c0, c, y, x,
                                                                 shared.padded, shared.taps));
    }
    __syncthreads();
}

// The warp's products of the CORE channels in shared memory.
__device__ __forceinline__ void multiply(const WideShape& shape, const WideShared& shared, Accumulator (&sums)[WARP_TILES]) {
#pragma unroll
    for (int t = 0; t < WARP_TILES; t++) {
        const int tile = warp() + CELL_WARPS * t, row = tile / shape.columns, column = tile % shape.columns;
        if (row >= shape.rows) break;
        add_product<row_major, row_major>(sums[t], shared.weights + row * CORE * CORE, shared.deep + column * CORE);
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

__global__ void __launch_bounds__(CELL_THREADS, WIDE_BLOCKS) wide_kernel(CellView cell, const ConvJobs* __restrict__ table) {
    const ConvJobs& jobs = *table;
    SHARED_DYNAMIC(float, shared);
    const int image = blockIdx.y;
    if ((int)blockIdx.x >= jobs.groups) return pool(cell, jobs.pools.job[blockIdx.x - jobs.groups], image, jobs.room, shared);
    convolve_wide(cell, jobs.job[jobs.group[blockIdx.x].first], image, shared);
}

}  // namespace sgl_fast
