// As gradient.cuh, for many channels: 1x1 convolutions are undone by tensor cores. A block an image, a target and some sixteens
// of its channels, a band of rows at a time; a warp a product of CORE pixels, whose slopes it computes for itself.
#pragma once

#include "gradient.cuh"
#include "slope_tile.cuh"

namespace sgl_fast {

constexpr int MOST_QUADS = 4;  // that a thread sums in registers

__host__ __device__ inline bool undone_wide(const SlopeJob& job, const Target& target) {
    return job.outs % CORE == 0 && target.channels % CORE == 0;
}

// How many rows of slopes beyond its own a row of the target reads, to either side.
__host__ __device__ inline int slope_reach(const SlopeJob& job) { return (job.kernel / 2 * job.dilation + job.stride - 1) / job.stride; }

// How a target is cut: `rows` rows of slopes and `channels` of the target at a time.
struct BandShape {
    int rows, channels;
    Tiling tiling;  // of the target's pixels that these rows are for
    PaddedPlane plane;

    __host__ __device__ explicit BandShape(const Target& target)
        : rows(target.band), channels(target.cores * CORE), tiling(target.H / target.out_H * rows, target.W),
          plane(spread({1, rows, target.out_W, target.pad})) {}
    __host__ __device__ int floats(int outs) const { return CELL_WARPS * CORE * CORE + channels * plane.floats + outs * (channels + 4); }
    __host__ __device__ bool in_registers() const { return channels * tiling.quads <= MOST_QUADS * CELL_THREADS; }
};

// Where things lie in shared memory.
struct BandShared {
    WarpTile tile;
    float* planes;   // of the slopes, 1x1 convolution undone, with a border
    Parts weights;   // (outs, channels)
    SlopeFactors* factors;

    __device__ BandShared(const BandShape& shape, int outs, float* shared) : tile{shared + warp() * CORE * CORE} {
        planes = shared + CELL_WARPS * CORE * CORE;
        unsigned short* after = (unsigned short*)(planes + shape.channels * shape.plane.floats);
        weights = {after, after + outs * shape.channels, shape.channels};
        factors = (SlopeFactors*)(after + 2 * outs * shape.channels);
    }
};

// The job's weights of channels from c0 on, and the factors of its slopes.
__device__ __forceinline__ void load_undo(const CellView& cell, const GradView& g, const SlopeJob& job, const SlopePlanes& slopes,
                                          const Target& target, int v, int c0, const BandShared& shared) {
    const float* weights = cell.weights_of(v) + job.pointwise + c0;
    const int count = shared.weights.step;
    for (int i = threadIdx.x; i < job.outs * count; i += CELL_THREADS)
        shared.weights.set(i, LIFT * weights[(long long)(i / count) * target.channels + i % count]);
    for (int o = threadIdx.x; o < job.outs; o += CELL_THREADS) shared.factors[o] = slopes.factors(cell, g, o);
}

// planes[c] = the sum over o of weight(o, c0 + c) * slope(o), for the rows of slopes that the band's windows read.
__device__ __forceinline__ void undo_core(const SlopeJob& job, const SlopePlanes& slopes, const Target& target, const BandShape& shape,
                                          int y0, const BandShared& shared) {
    const int reach = slope_reach(job);
    const int first = y0 - reach > 0 ? y0 - reach : 0;
    const int end = y0 + shape.rows + reach < target.out_H ? y0 + shape.rows + reach : target.out_H;
    const int quads_in_row = (target.out_W + 3) / 4, cores = target.cores;
    const SlopeRows rows{first, (end - first) * quads_in_row, target.out_W};
    const int tiles = (rows.quads + WarpTile::QUADS - 1) / WarpTile::QUADS;
    for (int item = warp(); item < tiles * cores; item += CELL_WARPS) {
        const int tile = item / cores, c = item % cores * CORE;
        Accumulator sum, part;
        nvcuda::wmma::fill_fragment(sum, 0.0f);
        for (int o = 0; o < job.outs; o += CORE) {
            float4 mine[WarpTile::MINE];
            read_slopes(slopes, shared.factors, o, rows, tile, mine);
            const Range range = range_of(mine);
            shared.tile.put(mine, range.up);
            nvcuda::wmma::fill_fragment(part, 0.0f);
            add_product<col_major, row_major>(part, shared.weights + (o * shape.channels + c), shared.tile.parts());
            add_scaled(sum, range.down / LIFT, part);
        }
        shared.tile.put(sum);
        float* plane = shared.planes + (c + WarpTile::row()) * shape.plane.floats;
#pragma unroll
        for (int i = 0; i < WarpTile::MINE; i++) {
            const int q = tile * WarpTile::QUADS + WarpTile::quad(i);
            if (q < rows.quads) *(float4*)(plane + shape.plane.at(rows.y(q) - y0, rows.x(q))) = shared.tile.get(i);
        }
    }
}

// A thread's sums, of every CELL_THREADS-th quad of the band's channels. The accumulator in use is always sum[0] and is rotated to
// the back after use: every index is a compile-time constant (registers, no local memory) although the loop stays rolled.
struct Sums {
    float4 sum[MOST_QUADS];

    __device__ Sums() {
#pragma unroll
        for (int i = 0; i < MOST_QUADS; i++) sum[i] = make_float4(0, 0, 0, 0);
    }
    // visit(sum, c, y, x), rows counted from the band's first.
    template <class Visit> __device__ __forceinline__ void each(const BandShape& shape, const Visit& visit) {
#pragma unroll 1
        for (int i = 0; i < MOST_QUADS; i++) {
            const int item = threadIdx.x + i * CELL_THREADS, c = item / shape.tiling.quads, q = item % shape.tiling.quads;
            float4 mine = sum[0];
            if (c < shape.channels) visit(mine, c, q / shape.tiling.quads_in_row, q % shape.tiling.quads_in_row * 4);
#pragma unroll
            for (int k = 1; k < MOST_QUADS; k++) sum[k - 1] = sum[k];
            sum[MOST_QUADS - 1] = mine;
        }
    }
};

// One band, of slopes from row y0 on, into the target's channels from c0 on.
__device__ __forceinline__ void undo_band(const CellView& cell, const GradView& g, const SlopeJobs& jobs, const Target& target,
                                          const BandShape& shape, int image, int c0, int y0, const BandShared& shared) {
    const int v = image / cell.N, above = target.H / target.out_H * y0;
    Sums sums;
    for (int j = target.first_job; j < target.first_job + target.jobs && c0 < target.channels; j++) {
        const SlopeJob& job = jobs.job[j];
        const SlopePlanes slopes(cell, g, job.slope, image);
        __syncthreads();
        load_undo(cell, g, job, slopes, target, v, c0, shared);
        __syncthreads();
        undo_core(job, slopes, target, shape, y0, shared);
        __syncthreads();
        const float* taps = cell.weights_of(v) + job.depthwise + (long long)c0 * job.kernel * job.kernel;
        sums.each(shape, [&](float4& sum, int c, int y, int x) {
            sum += undo_quad(job, shape.plane, shared.planes + c * shape.plane.floats, taps + c * job.kernel * job.kernel, y, x);
        });
    }
    sums.each(shape, [&](const float4& sum, int c, int y, int x) {
        if (above + y < target.H)
            store_open(cell, target, image, c0 + c, above + y, x, sum, target_plane(cell, g, target, image, c0 + c));
    });
}

// As add_rest, in as many channels at a time as `room` floats hold.
__device__ __forceinline__ void add_rest_in_parts(const CellView& cell, const GradView& g, const Target& target, const StateJob& state,
                                                  int image, int c0, int end, int room, float* planes) {
    const PaddedPlane plane = target.plane();
    const int most = room / plane.floats;
    __syncthreads();
    clear(planes, (most < end - c0 ? most : end - c0) * plane.floats);
    for (int c = c0; c < end; c += most) {
        __syncthreads();
        add_rest(cell, g, target, state, image, c, c + most < end ? most : end - c, planes);
    }
}

// outs: the most of a slope; room: floats of shared memory.
__global__ void __launch_bounds__(CELL_THREADS, 2)
wide_gradient_kernel(CellView cell, GradView g, const SlopeJobs* __restrict__ table, int outs, int room) {
    const SlopeJobs& jobs = *table;
    SHARED_DYNAMIC(float, memory);
    const Target& target = jobs.target[blockIdx.z];
    const BandShape shape(target);
    const int image = blockIdx.y, all = target.all(cell.C), c0 = blockIdx.x * shape.channels;
    if (c0 >= all) return;
    const BandShared shared(shape, outs, memory);
    for (int y0 = 0; y0 < target.out_H; y0 += shape.rows) {
        __syncthreads();
        clear(shared.planes, shape.channels * shape.plane.floats);
        undo_band(cell, g, jobs, target, shape, image, c0, y0, shared);
    }
    if (target.to == To::state)
        add_rest_in_parts(cell, g, target, jobs.state[blockIdx.z], image, c0, c0 + shape.channels, room, memory);
    finish_part(cell, g, jobs, target, image, c0, c0 + shape.channels, all / shape.channels);
}

}  // namespace sgl_fast
