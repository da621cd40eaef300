// As weight_gradient.cuh, for many channels: 1x1 convolutions by tensor cores, bands of rows at a time. A warp takes CORE input
// channels, SWEEP * CORE outputs and CORE pixels at a time, whose slopes and depthwise results it computes for itself; its sums
// stay in registers until the block's images are done.
#pragma once

#include "slope_tile.cuh"
#include "weight_job.cuh"

namespace sgl_fast {

constexpr int SWEEP = 2;       // CORE outputs whose sums a warp has in registers
constexpr int LANE_TAPS = 15;  // that a lane sums; the two lanes of a channel share its rows

// Warps with different channels or outputs, a power of two; the others have other tiles.
__host__ __device__ inline int wide_slots(const ConvJob& conv) {
    int slots = conv.chunk / CORE;
    while (slots * CORE * SWEEP * CORE < conv.chunk * conv.outs) slots *= 2;
    return slots;
}

__host__ __device__ inline PaddedPlane band_plane(const WeightJob& job) {
    return spread({job.conv.stride, job.band, job.conv.out_W, job.conv.pad()});
}

// Where things lie in shared memory.
struct WideWeightShared {
    WarpTile tile, deep;
    Parts weights;  // (outs, chunk)
    SlopeFactors* factors;
    float *padded, *taps;  // of the chunk
    int floats;

    __host__ __device__ WideWeightShared(const WeightJob& job, float* shared, int warp) {
        const ConvJob& conv = job.conv;
        const int tiles = 2 * CELL_WARPS * CORE * CORE, weights_at = tiles, factors_at = weights_at + conv.outs * conv.chunk;
        const int padded_at = factors_at + 4 * conv.outs, taps_at = padded_at + (conv.taps() ? conv.chunk * band_plane(job).floats : 0);
        const int sums = conv.taps() ? CELL_THREADS * LANE_TAPS : 0, all = taps_at + conv.chunk * conv.taps();
        tile = {shared + warp * CORE * CORE};
        deep = {shared + (CELL_WARPS + warp) * CORE * CORE};
        weights = {(unsigned short*)(shared + weights_at), (unsigned short*)(shared + weights_at) + conv.outs * conv.chunk, conv.chunk};
        factors = (SlopeFactors*)(shared + factors_at);
        padded = shared + padded_at;
        taps = shared + taps_at;
        floats = all > sums ? all : sums;
    }
};

__host__ __device__ inline int wide_weight_floats(const WeightJob& job) { return WideWeightShared(job, nullptr, 0).floats; }

// What all images of a block share.
__device__ __forceinline__ void load_weights(const CellView& cell, const GradView& g, const WeightJob& job,
                                             const SlopePlanes& slopes, int v, int c0, const WideWeightShared& shared) {
    const ConvJob& conv = job.conv;
    const float* weights = cell.weights_of(v);
    for (int i = threadIdx.x; i < conv.outs * conv.chunk; i += CELL_THREADS)
        shared.weights.set(i, LIFT * weights[conv.pointwise + (long long)(i / conv.chunk) * conv.ins + c0 + i % conv.chunk]);
    for (int i = threadIdx.x; i < conv.chunk * conv.taps(); i += CELL_THREADS)
        shared.taps[i] = weights[conv.depthwise + c0 * conv.taps() + i];
    for (int o = threadIdx.x; o < conv.outs; o += CELL_THREADS) shared.factors[o] = slopes.factors(cell, g, o);
    if (conv.taps()) clear(shared.padded, conv.chunk * band_plane(job).floats);
}

// The rows that windows of outputs from row y0 on read, of the chunk's channels after their ReLU.
__device__ __forceinline__ void load_band(const CellView& cell, const WeightJob& job, int image, int c0, int y0, float* padded) {
    const ConvJob& conv = job.conv;
    const Planes from = planes_from(cell, conv, image / cell.N, image % cell.N);
    const unsigned char* bits = cell.pattern_of(image) + conv.bits;
    const PaddedPlane plane = band_plane(job);
    const int reach = conv.kernel / 2 * conv.dilation, first = conv.stride * y0 - reach, rows = conv.stride * job.band + 2 * reach;
    load_padded(rows, from.W, conv.chunk, plane, padded - reach * plane.row, [&](int c, int y, int x) {
        const int row = first + y;
        return row >= 0 && row < from.H ? activated_quad(from, bits, true, c0 + c, row, x) : make_float4(0, 0, 0, 0);
    });
}

// A warp's sums.
struct WideSums {
    Accumulator pointwise[SWEEP];  // (outs, CORE)
    float depthwise[LANE_TAPS];    // of the lane's channel and rows of taps

    __device__ WideSums() {
#pragma unroll
        for (int k = 0; k < SWEEP; k++) nvcuda::wmma::fill_fragment(pointwise[k], 0.0f);
#pragma unroll
        for (int i = 0; i < LANE_TAPS; i++) depthwise[i] = 0;
    }
};

// What a warp has of a block's chunk of channels, from c0 on: CORE channels, SWEEP * CORE outputs, some of the tiles.
struct WarpPart {
    const WeightJob& job;
    int c0;

    __device__ int slots() const { return wide_slots(job.conv); }
    __device__ int core() const { return warp() % (job.conv.chunk / CORE); }
    __device__ int channel() const { return core() * CORE + WarpTile::row(); }  // of the chunk
    __device__ int out0() const { return warp() % slots() / (job.conv.chunk / CORE) * SWEEP * CORE; }
};

// Adds one tile of an image.
__device__ __forceinline__ void add_tile(const CellView& cell, const WarpPart& part, int image, const SlopePlanes& slopes,
                                         const SlopeRows& rows, int tile, const WideWeightShared& shared, WideSums& sums) {
    const ConvJob& conv = part.job.conv;
    const PaddedPlane plane = band_plane(part.job);
    const auto window = [&](int q) {
        return shared.padded + part.channel() * plane.floats + conv.stride * ((rows.y(q) - rows.first) * plane.row + rows.x(q));
    };
    float4 mine[WarpTile::MINE];
#pragma unroll
    for (int i = 0; i < WarpTile::MINE; i++) {
        const int q = tile * WarpTile::QUADS + WarpTile::quad(i);
        mine[i] = make_float4(0, 0, 0, 0);
        if (q >= rows.quads) continue;
        mine[i] = conv.taps() ? window_quad(conv, window(q), plane.row, shared.taps + part.channel() * conv.taps())
                              : strided_quad(planes_from(cell, conv, image / cell.N, image % cell.N), cell.pattern_of(image) + conv.bits,
                                             true, conv, part.c0 + part.channel(), rows.y(q), rows.x(q));
    }
    shared.deep.put(mine, LIFT);
    Accumulator back;
    nvcuda::wmma::fill_fragment(back, 0.0f);
#pragma unroll 1
    for (int k = 0; k < SWEEP; k++) {
        const int o = part.out0() + k * CORE;
        Accumulator sum = sums.pointwise[0];
        if (o < conv.outs) {
            read_slopes(slopes, shared.factors, o, rows, tile, mine);
            const Range range = range_of(mine);
            shared.tile.put(mine, range.up);
            Accumulator product;
            nvcuda::wmma::fill_fragment(product, 0.0f);
            add_product<row_major, col_major>(product, shared.tile.parts(), shared.deep.parts());
            add_scaled(sum, range.down / LIFT, product);
            if (conv.taps()) {
                nvcuda::wmma::fill_fragment(product, 0.0f);
                add_product<col_major, row_major>(product, shared.weights + (o * conv.chunk + part.core() * CORE), shared.tile.parts());
                add_scaled(back, range.down / LIFT, product);
            }
        }
#pragma unroll
        for (int i = 1; i < SWEEP; i++) sums.pointwise[i - 1] = sums.pointwise[i];
        sums.pointwise[SWEEP - 1] = sum;
    }
    if (!conv.taps()) return;
    shared.tile.put(back);
    for (int i = 0; i < WarpTile::QUADS; i++) {
        const int q = tile * WarpTile::QUADS + i;
        if (q >= rows.quads) break;
        const float4 slope = *(const float4*)(shared.tile.floats + WarpTile::row() * CORE + 4 * i);
        tap_products<true>(conv, WarpTile::side(), slope, window(q), plane.row, sums.depthwise);
    }
}

// Adds one image.
__device__ __forceinline__ void add_wide_image(const CellView& cell, const GradView& g, const WarpPart& part, int image,
                                               const WideWeightShared& shared, WideSums& sums) {
    const ConvJob& conv = part.job.conv;
    const SlopePlanes slopes(cell, g, part.job.slope, image);
    const int quads_in_row = (conv.out_W + 3) / 4;
    for (int y0 = 0; y0 < conv.out_H; y0 += part.job.band) {
        const int height = conv.out_H - y0 < part.job.band ? conv.out_H - y0 : part.job.band;
        const SlopeRows rows{y0, height * quads_in_row, conv.out_W};
        if (conv.taps()) {
            __syncthreads();
            load_band(cell, part.job, image, part.c0, y0, shared.padded);
            __syncthreads();
        }
        for (int tile = warp() / part.slots(); tile * WarpTile::QUADS < rows.quads; tile += CELL_WARPS / part.slots())
            add_tile(cell, part, image, slopes, rows, tile, shared, sums);
    }
}

// The block's sums, over its warps in their order.
__device__ __forceinline__ void store_sums(const WarpPart& part, float* memory, const WideWeightShared& shared, const WideSums& sums,
                                           float* dw) {
    const ConvJob& conv = part.job.conv;
    const int cores = conv.chunk / CORE, slots = part.slots(), taps = conv.taps();
#pragma unroll
    for (int k = 0; k < SWEEP; k++) {
        __syncthreads();
        shared.tile.put(sums.pointwise[k]);
        __syncthreads();
        for (int i = threadIdx.x; i < slots * CORE * CORE; i += CELL_THREADS) {
            const int slot = i / (CORE * CORE), o = (slot / cores * SWEEP + k) * CORE + i / CORE % CORE;
            if (o >= conv.outs) continue;
            float total = 0;
            for (int w = slot; w < CELL_WARPS; w += slots) total += memory[w * CORE * CORE + i % (CORE * CORE)];
            dw[conv.pointwise + (long long)o * conv.ins + part.c0 + slot % cores * CORE + i % CORE] = total;
        }
    }
    if (!taps) return;
    __syncthreads();
#pragma unroll
    for (int t = 0; t < LANE_TAPS; t++) memory[threadIdx.x * LANE_TAPS + t] = sums.depthwise[t];
    __syncthreads();
    const int first = (conv.kernel / 2 + 1) * conv.kernel;  // taps of side 0
    for (int i = threadIdx.x; i < conv.chunk * taps; i += CELL_THREADS) {
        const int c = i / taps, side = i % taps >= first, lane = c % CORE * WarpTile::MINE + side, tap = i % taps - side * first;
        float total = 0;
        for (int w = c / CORE; w < CELL_WARPS; w += cores) total += memory[(w * WARP + lane) * LANE_TAPS + tap];
        dw[conv.depthwise + part.c0 * taps + i] = total;
    }
}

// As weight_gradient.
__device__ __forceinline__ void wide_weight_gradient(const CellView& cell, const GradView& g, const WeightJob& job, const ImageGroup& images,
                                                     int c0, float* memory) {
    const WideWeightShared shared(job, memory, warp());
    const WarpPart part{job, c0};
    load_weights(cell, g, job, SlopePlanes(cell, g, job.slope, images.first()), images.v, c0, shared);
    __syncthreads();
    WideSums sums;
    for (int image = images.first(); image < images.end(); image++) add_wide_image(cell, g, part, image, shared, sums);
    store_sums(part, memory, shared, sums, images.share());
}

}  // namespace sgl_fast
