// As wgrad.cu, for many channels: 1x1 convolutions by tensor cores, bands of rows at a time. A warp takes WMMA input
// channels, SWEEP * WMMA outputs and WMMA pixels at a time, whose grad z and depthwise results it computes for itself; its sums
// stay in registers until the block's images are done.
#pragma once

#include "wgrad_job.cuh"
#include "wgrad_tile.cuh"

namespace sgl_fast {

// A warp's sums.
template <bool TAPS> struct TensorCoreSums {
    static constexpr int OUTS = TAPS ? 1 : SWEEP;  // in units of WMMA
    Accumulator pointwise[OUTS];                   // (outs, WMMA)
    float depthwise[LANE_TAPS];                    // of the lane's channel and rows of taps

    TensorCoreSums() {
#pragma unroll
        for (int k = 0; k < OUTS; k++) pointwise[k] = zero_matrix();
#pragma unroll
        for (int i = 0; i < LANE_TAPS; i++) depthwise[i] = 0;
    }
};

// Where things lie in shared memory: as TensorCoreLayout says.
struct TensorCoreShared {
    template <bool TAPS> using Sums = TensorCoreSums<TAPS>;
    const WgradJob& job;
    float* memory;

    WarpTile tile() const { return {memory + this_warp() * WMMA * WMMA}; }
    WarpTile pointwise_in() const { return {memory + (CELL_WARPS + this_warp()) * WMMA * WMMA}; }
    Parts weights() const {  // (outs, chunk)
        unsigned short* parts = (unsigned short*)(memory + job.core.weights);
        return {parts, parts + job.conv.outs * job.conv.chunk, job.conv.chunk};
    }
    BnFactors* factors() const { return (BnFactors*)(memory + job.core.factors); }
    float* padded() const { return memory + job.core.padded; }
    float* taps() const { return memory + job.core.taps; }  // of the chunk
};

// What all images of a block share.
__forceinline__ void load_weights(const CellView& cell, const GradView& g, const WgradBlock& block,
                                  const TensorCoreShared& shared) {
    const WgradJob& job = block.job();
    const ConvJob& conv = job.conv;
    const int c0 = block.part().c0;
    const float* weights = cell.weights_of(block.part().v);
    for (int i = thread(); i < conv.outs * conv.chunk; i += CELL_THREADS)
        shared.weights().set(
            i, SPLIT_SCALE * weights[conv.pointwise + (long long)(i / conv.chunk) * conv.ins + c0 + i % conv.chunk]);
    for (int i = thread(); i < conv.chunk * conv.taps; i += CELL_THREADS)
        shared.taps()[i] = weights[conv.depthwise + c0 * conv.taps + i];
    for (int o = thread(); o < conv.outs; o += CELL_THREADS)
        shared.factors()[o] = block.image(block.part().first).grad_z.factors(cell, g, o);
    if (conv.taps) clear(shared.padded(), conv.chunk * job.band_plane().floats);
}

// The rows that windows of outputs from row y0 on read, of the chunk's channels after their ReLU.
__forceinline__ void load_band(const WgradBlock& block, const WgradImage& image, int y0,
                               const TensorCoreShared& shared) {
    const ConvJob& conv = block.job().conv;
    const PaddedPlane plane = block.job().band_plane();
    const int reach = conv.kernel / 2 * conv.dilation;
    load_opened(block, image, conv.stride * y0 - reach, conv.stride * block.job().band + 2 * reach, plane,
                shared.padded() - reach * plane.row);
}

// What a warp has of a block's chunk of channels: WMMA channels, SWEEP * WMMA outputs, some of the tiles.
struct WarpPart {
    const WgradJob& job;

    int sixteen() const { return this_warp() % job.sixteens; }
    int channel() const { return sixteen() * WMMA + WarpTile::row(); }  // of the chunk
    int out0() const { return this_warp() % job.slots / job.sixteens * job.sweep() * WMMA; }
};

// Adds one tile of an image.
template <bool TAPS>
__forceinline__ void add_tile(const WgradBlock& block, const WgradImage& image, const GradZRows& rows, int tile,
                              const TensorCoreShared& shared, TensorCoreSums<TAPS>& sums) {
    const WarpPart part{block.job()};
    const ConvJob& conv = block.job().conv;
    if (TAPS && part.out0() >= conv.outs) return;
    const PaddedPlane plane = block.job().band_plane();
    const auto window = [&](int q) {
        return shared.padded() + part.channel() * plane.floats +
               conv.stride * ((rows.y(q) - rows.first) * plane.row + rows.x(q));
    };
    __syncwarp();
#pragma unroll
    for (int i = 0; i < WarpTile::MINE; i++) {
        const int q = tile * WarpTile::QUADS + WarpTile::quad(i);
        float4 four = make_float4(0, 0, 0, 0);
        if (q < rows.quads)
            four = TAPS ? window_quad(conv, window(q), plane.row, shared.taps() + part.channel() * conv.taps)
                        : image.pointwise_in(conv, block.part().c0 + part.channel(), rows.y(q), rows.x(q));
        shared.pointwise_in().parts().set(WarpTile::place(i), SPLIT_SCALE * four);
    }
    __syncwarp();
#pragma unroll
    for (int k = 0; k < sums.OUTS; k++) {
        const int o = part.out0() + k * WMMA;
        Accumulator sum = sums.pointwise[0];
        if (TAPS || o < conv.outs) {
            float4 mine[WarpTile::MINE];
            read_grad_z(image.grad_z, shared.factors(), o, rows, tile, mine);
            const Range range = range_of(mine);
            shared.tile().put(mine, range.up);
            Accumulator product = zero_matrix();
            add_product<true, false>(product, shared.tile().parts(), shared.pointwise_in().parts());
            add_scaled(sum, range.down / SPLIT_SCALE, product);
            if (TAPS) {
                product = zero_matrix();
                add_product<false, true>(product, shared.weights() + (o * conv.chunk + part.sixteen() * WMMA),
                                         shared.tile().parts());
                Accumulator back = zero_matrix();
                add_scaled(back, range.down / SPLIT_SCALE, product);
                shared.tile().put(back);
            }
        }
#pragma unroll
        for (int i = 1; i < sums.OUTS; i++) sums.pointwise[i - 1] = sums.pointwise[i];
        sums.pointwise[sums.OUTS - 1] = sum;
    }
    if (!TAPS) return;
    for (int i = 0; i < WarpTile::QUADS; i++) {
        const int q = tile * WarpTile::QUADS + i;
        if (q >= rows.quads) break;
        const float4 dz = *(const float4*)(shared.tile().floats + WarpTile::row() * WMMA + 4 * i);
        if (conv.kernel == 3)
            tap_products<2, 3>(conv, WarpTile::side(), dz, window(q), plane.row, sums.depthwise);
        else
            tap_products<3, 5>(conv, WarpTile::side(), dz, window(q), plane.row, sums.depthwise);
    }
}

// Adds one image.
template <bool TAPS>
__forceinline__ void add_image(const WgradBlock& block, const WgradImage& image, const TensorCoreShared& shared,
                               TensorCoreSums<TAPS>& sums) {
    const WgradJob& job = block.job();
    const ConvJob& conv = job.conv;
    for (int y0 = 0; y0 < conv.out_H; y0 += job.band) {
        if (TAPS) {
            __syncthreads();
            load_band(block, image, y0, shared);
            __syncthreads();
        }
        const int height = conv.out_H - y0 < job.band ? conv.out_H - y0 : job.band;
        const GradZRows rows{y0, height * job.tiling.quads_in_row, conv.out_W, job.tiling};
        for (int tile = this_warp() / job.slots; tile * WarpTile::QUADS < rows.quads; tile += CELL_WARPS / job.slots)
            add_tile<TAPS>(block, image, rows, tile, shared, sums);
    }
}

// The block's sums, over its warps in their order.
template <bool TAPS>
__forceinline__ void store_sums(const WgradBlock& block, const TensorCoreSums<TAPS>& sums, float* memory, float* dw) {
    const int c0 = block.part().c0;
    const TensorCoreShared shared{block.job(), memory};
    const ConvJob& conv = block.job().conv;
    const PowerOfTwo &sixteens = block.job().sixteens, &slots = block.job().slots;
    const Divisor& taps = conv.taps;
#pragma unroll
    for (int k = 0; k < sums.OUTS; k++) {
        __syncthreads();
        shared.tile().put(sums.pointwise[k]);
        __syncthreads();
        for (int i = thread(); i < slots * WMMA * WMMA; i += CELL_THREADS) {
            const int slot = i / (WMMA * WMMA), o = (slot / sixteens * sums.OUTS + k) * WMMA + i / WMMA % WMMA;
            if (o >= conv.outs) continue;
            float total = 0;
            for (int w = slot; w < CELL_WARPS; w += slots) total += memory[w * WMMA * WMMA + i % (WMMA * WMMA)];
            dw[conv.pointwise + (long long)o * conv.ins + c0 + slot % sixteens * WMMA + i % WMMA] = total;
        }
    }
    if (!TAPS) return;
    __syncthreads();
#pragma unroll
    for (int t = 0; t < LANE_TAPS; t++) memory[thread() * LANE_TAPS + t] = sums.depthwise[t];
    __syncthreads();
    const int first = (conv.kernel / 2 + 1) * conv.kernel;  // taps of side 0
    for (int i = thread(); i < conv.chunk * taps; i += CELL_THREADS) {
        const int c = i / taps, side = i % taps >= first, lane = c % WMMA * WarpTile::MINE + side,
                  tap = i % taps - side * first;
        float total = 0;
        for (int w = c / WMMA; w < CELL_WARPS; w += sixteens) total += memory[(w * WARP + lane) * LANE_TAPS + tap];
        dw[conv.depthwise + c0 * taps + i] = total;
    }
}

}  // namespace sgl_fast
