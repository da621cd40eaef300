// As wgrad.cu, for many channels: 1x1 convolutions by tensor cores, bands of rows at a time. A warp takes WMMA input
// channels, SWEEP * WMMA outputs and WMMA pixels at a time, whose grad z and depthwise results it computes for itself; its sums
// stay in registers until the block's images are done.
#pragma once

#include "wgrad_job.cuh"
#include "wgrad_tile.cuh"

namespace sgl_fast {

// Where things lie in shared memory.
struct TensorCoreShared {
    WarpTile tile, pointwise_in;
    Parts weights;  // (outs, chunk)
    BnFactors* factors;
    float *padded, *taps;  // of the chunk

    TensorCoreShared(const WgradJob& job, float* shared, int warp) {
        const TensorCoreLayout at(job);
        unsigned short* parts = (unsigned short*)(shared + at.weights);
        tile = {shared + warp * WMMA * WMMA};
        pointwise_in = {shared + (CELL_WARPS + warp) * WMMA * WMMA};
        weights = {parts, parts + job.conv.outs * job.conv.chunk, job.conv.chunk};
        factors = (BnFactors*)(shared + at.factors);
        padded = shared + at.padded;
        taps = shared + at.taps;
    }
};

// What all images of a block share.
__forceinline__ void load_weights(const CellView& cell, const GradView& g, const WgradJob& job,
                                  const GradZPlanes& grad_z, int v, int c0, const TensorCoreShared& shared) {
    const ConvJob& conv = job.conv;
    const float* weights = cell.weights_of(v);
    for (int i = threadIdx.x; i < conv.outs * conv.chunk; i += CELL_THREADS)
        shared.weights.set(
            i, SPLIT_SCALE * weights[conv.pointwise + (long long)(i / conv.chunk) * conv.ins + c0 + i % conv.chunk]);
    for (int i = threadIdx.x; i < conv.chunk * conv.taps; i += CELL_THREADS)
        shared.taps[i] = weights[conv.depthwise + c0 * conv.taps + i];
    for (int o = threadIdx.x; o < conv.outs; o += CELL_THREADS) shared.factors[o] = grad_z.factors(cell, g, o);
    if (conv.taps) clear(shared.padded, conv.chunk * job.band_plane().floats);
}

// The rows that windows of outputs from row y0 on read, of the chunk's channels after their ReLU.
__forceinline__ void load_band(const CellView& cell, const WgradJob& job, int image, int c0, int y0, float* padded) {
    const ConvJob& conv = job.conv;
    const Planes from = planes_from(cell, conv, image / cell.N, image % cell.N);
    const unsigned char* mask = cell.pattern_of(image) + conv.relu_mask;
    const PaddedPlane plane = job.band_plane();
    const int reach = conv.kernel / 2 * conv.dilation, first = conv.stride * y0 - reach,
              rows = conv.stride * job.band + 2 * reach;
    load_padded(conv.in, rows * conv.in.quads_in_row, conv.chunk, plane, padded - reach * plane.row,
                [&](int c, int y, int x) {
                    const int row = first + y;
                    return row >= 0 && row < from.H ? activated_quad(from, mask, true, c0 + c, row, x)
                                                    : make_float4(0, 0, 0, 0);
                });
}

// A warp's sums.
struct TensorCoreSums {
    Accumulator pointwise[SWEEP];  // (outs, WMMA)
    float depthwise[LANE_TAPS];    // of the lane's channel and rows of taps

    TensorCoreSums() {
#pragma unroll
        for (int k = 0; k < SWEEP; k++) pointwise[k] = zero_matrix();
#pragma unroll
        for (int i = 0; i < LANE_TAPS; i++) depthwise[i] = 0;
    }
};

// What a warp has of a block's chunk of channels, from c0 on: WMMA channels, SWEEP * WMMA outputs, some of the tiles.
struct WarpPart {
    const WgradJob& job;
    int c0;

    int sixteen() const { return warp() % job.sixteens; }
    int channel() const { return sixteen() * WMMA + WarpTile::row(); }  // of the chunk
    int out0() const { return warp() % job.slots / job.sixteens * SWEEP * WMMA; }
};

// Adds one tile of an image.
__forceinline__ void add_tile(const CellView& cell, const WarpPart& part, int image, const GradZPlanes& grad_z,
                              const GradZRows& rows, int tile, const TensorCoreShared& shared, TensorCoreSums& sums) {
    const ConvJob& conv = part.job.conv;
    const PaddedPlane plane = part.job.band_plane();
    const auto window = [&](int q) {
        return shared.padded + part.channel() * plane.floats +
               conv.stride * ((rows.y(q) - rows.first) * plane.row + rows.x(q));
    };
    float4 mine[WarpTile::MINE];
#pragma unroll
    for (int i = 0; i < WarpTile::MINE; i++) {
        const int q = tile * WarpTile::QUADS + WarpTile::quad(i);
        mine[i] = make_float4(0, 0, 0, 0);
        if (q >= rows.quads) continue;
        mine[i] = conv.taps ? window_quad(conv, window(q), plane.row, shared.taps + part.channel() * conv.taps)
                            : strided_quad(planes_from(cell, conv, image / cell.N, image % cell.N),
                                           cell.pattern_of(image) + conv.relu_mask, true, conv,
                                           part.c0 + part.channel(), rows.y(q), rows.x(q));
    }
    shared.pointwise_in.put(mine, SPLIT_SCALE);
    Accumulator back = zero_matrix();
#pragma unroll 1
    for (int k = 0; k < SWEEP; k++) {
        const int o = part.out0() + k * WMMA;
        Accumulator sum = sums.pointwise[0];
        if (o < conv.outs) {
            read_grad_z(grad_z, shared.factors, o, rows, tile, mine);
            const Range range = range_of(mine);
            shared.tile.put(mine, range.up);
            Accumulator product = zero_matrix();
            add_product<true, false>(product, shared.tile.parts(), shared.pointwise_in.parts());
            add_scaled(sum, range.down / SPLIT_SCALE, product);
            if (conv.taps) {
                product = zero_matrix();
                add_product<false, true>(product, shared.weights + (o * conv.chunk + part.sixteen() * WMMA),
                                         shared.tile.parts());
                add_scaled(back, range.down / SPLIT_SCALE, product);
            }
        }
#pragma unroll
        for (int i = 1; i < SWEEP; i++) sums.pointwise[i - 1] = sums.pointwise[i];
        sums.pointwise[SWEEP - 1] = sum;
    }
    if (!conv.taps) return;
    shared.tile.put(back);
    for (int i = 0; i < WarpTile::QUADS; i++) {
        const int q = tile * WarpTile::QUADS + i;
        if (q >= rows.quads) break;
        const float4 dz = *(const float4*)(shared.tile.floats + WarpTile::row() * WMMA + 4 * i);
        if (conv.kernel == 3)
            tap_products<2, 3>(conv, WarpTile::side(), dz, window(q), plane.row, sums.depthwise);
        else
            tap_products<3, 5>(conv, WarpTile::side(), dz, window(q), plane.row, sums.depthwise);
    }
}

// Adds one image.
__forceinline__ void add_image_tensor_core(const CellView& cell, const GradView& g, const WarpPart& part, int image,
                                           const TensorCoreShared& shared, TensorCoreSums& sums) {
    const ConvJob& conv = part.job.conv;
    const GradZPlanes grad_z(cell, g, part.job.grad_z, image);
    const PowerOfTwo& slots = part.job.slots;
    for (int y0 = 0; y0 < conv.out_H; y0 += part.job.band) {
        const int height = conv.out_H - y0 < part.job.band ? conv.out_H - y0 : part.job.band;
        const GradZRows rows{y0, height * part.job.tiling.quads_in_row, conv.out_W, part.job.tiling};
        if (conv.taps) {
            __syncthreads();
            load_band(cell, part.job, image, part.c0, y0, shared.padded);
            __syncthreads();
        }
        for (int tile = warp() / slots; tile * WarpTile::QUADS < rows.quads; tile += CELL_WARPS / slots)
            add_tile(cell, part, image, grad_z, rows, tile, shared, sums);
    }
}

// The block's sums, over its warps in their order.
__forceinline__ void store_sums(const WarpPart& part, float* memory, const TensorCoreShared& shared,
                                const TensorCoreSums& sums, float* dw) {
    const ConvJob& conv = part.job.conv;
    const PowerOfTwo &sixteens = part.job.sixteens, &slots = part.job.slots;
    const Divisor& taps = conv.taps;
#pragma unroll
    for (int k = 0; k < SWEEP; k++) {
        __syncthreads();
        shared.tile.put(sums.pointwise[k]);
        __syncthreads();
        for (int i = threadIdx.x; i < slots * WMMA * WMMA; i += CELL_THREADS) {
            const int slot = i / (WMMA * WMMA), o = (slot / sixteens * SWEEP + k) * WMMA + i / WMMA % WMMA;
            if (o >= conv.outs) continue;
            float total = 0;
            for (int w = slot; w < CELL_WARPS; w += slots) total += memory[w * WMMA * WMMA + i % (WMMA * WMMA)];
            dw[conv.pointwise + (long long)o * conv.ins + part.c0 + slot % sixteens * WMMA + i % WMMA] = total;
        }
    }
    if (!taps) return;
    __syncthreads();
#pragma unroll
    for (int t = 0; t < LANE_TAPS; t++) memory[threadIdx.x * LANE_TAPS + t] = sums.depthwise[t];
    __syncthreads();
    const int first = (conv.kernel / 2 + 1) * conv.kernel;  // taps of side 0
    for (int i = threadIdx.x; i < conv.chunk * taps; i += CELL_THREADS) {
        const int c = i / taps, side = i % taps >= first, lane = c % WMMA * WarpTile::MINE + side,
                  tap = i % taps - side * first;
        float total = 0;
        for (int w = c / WMMA; w < CELL_WARPS; w += sixteens) total += memory[(w * WARP + lane) * LANE_TAPS + tap];
        dw[conv.depthwise + part.c0 * taps + i] = total;
    }
}

// As wgrad.
__forceinline__ void wgrad_tensor_core(const CellView& cell, const GradView& g, const WgradJob& job,
                                       const ImageGroup& images, int c0, float* memory) {
    const TensorCoreShared shared(job, memory, warp());
    const WarpPart part{job, c0};
    load_weights(cell, g, job, GradZPlanes(cell, g, job.grad_z, images.first), images.v, c0, shared);
    __syncthreads();
    TensorCoreSums sums;
    for (int image = images.first; image < images.end; image++)
        add_image_tensor_core(cell, g, part, image, shared, sums);
    store_sums(part, memory, shared, sums, images.share);
}

}  // namespace sgl_fast
