// Gradients of convolutions' weights: a block some images of a learner, a convolution and a chunk of its input channels. Each
// group of images has its own sums, added in one order afterwards. A tile of pixels at a time, in shared memory: what the
// result's norm passes back (slopes), what the 1x1 convolution read (deep). Sums over a tile's pixels are taken from registers
// by halving: of N sums each lane ends with one.
#pragma once

#include "wide_weight_gradient.cuh"

namespace sgl_fast {

// Where things lie in shared memory.
struct WeightShared {
    float4 *slopes, *deep;  // (outs, lanes), (ins, lanes)
    float *padded, *taps;   // of the chunk
    float *pointwise, *depthwise;  // sums: (parts, outs, ins), (parts, ins, most_taps)
    SlopeFactors* factors;
    int floats;

    __host__ __device__ WeightShared(const WeightJob& job, float* shared) {
        floats = 0;
        const auto room = [&](int count) {
            floats += count;
            return shared + floats - count;
        };
        slopes = (float4*)room(4 * job.outs() * job.lanes);
        deep = (float4*)room(4 * job.ins() * job.lanes);
        factors = (SlopeFactors*)room(4 * job.outs());
        padded = room(job.conv.padded_floats());
        pointwise = room(job.parts() * job.outs() * job.ins());
        depthwise = room(job.conv.taps() ? job.parts() * job.ins() * job.most_taps() : 0);
        taps = room(job.conv.chunk * job.conv.taps());
    }
};

__host__ __device__ inline int weight_floats(const WeightJob& job) { return WeightShared(job, nullptr).floats; }

// Of 2 STEP values each lane keeps half, and its partner's part of it.
template <int STEP, int N> __device__ __forceinline__ void halve_once(float (&v)[N]) {
    const bool upper = lane() & STEP;
#pragma unroll
    for (int i = 0; i < STEP; i++) {
        const float mine = upper ? v[i + STEP] : v[i], other = upper ? v[i] : v[i + STEP];
        v[i] = mine + __shfl_xor_sync(WHOLE_WARP, other, STEP);
    }
    if constexpr (STEP > 1) halve_once<STEP / 2>(v);
}

// Sums of N values over `width` lanes, N at most width: lane i of each N lanes has that of value i.
template <int N> __device__ __forceinline__ float halve(float (&v)[N], int width) {
    halve_once<N / 2>(v);
    float total = v[0];
    for (int step = N; step < width; step *= 2) total += __shfl_xor_sync(WHOLE_WARP, total, step);
    return total;
}

// sums[o][i] += the products of slopes and deep over the tile's pixels. Items of SIDE x SIDE are dealt to the groups of threads;
// all threads of a warp come as often.
__device__ __forceinline__ void pointwise_sums(const WeightJob& job, const Tiling& tiling, int count, const WeightShared& shared) {
    const int in_items = (count + SIDE - 1) / SIDE, items = job.outs() / SIDE * in_items;
    float* sums = shared.pointwise + warp() % job.parts() * job.outs() * job.ins();
    const int width = tiling.lanes < WARP ? tiling.lanes : WARP;
    for (int first = 0; first < items; first += tiling.groups) {
        const int item = first + tiling.group(), o = item / in_items * SIDE, c = item % in_items * SIDE;
        float products[SIDE * SIDE];
#pragma unroll
        for (int i = 0; i < SIDE * SIDE; i++) products[i] = 0;
        if (item < items) {
            float4 slopes[SIDE];
#pragma unroll
            for (int i = 0; i < SIDE; i++) slopes[i] = shared.slopes[(o + i) * tiling.lanes + tiling.mine()];
#pragma unroll
            for (int j = 0; j < SIDE; j++) {
                const float4 deep = shared.deep[(c + j) * tiling.lanes + tiling.mine()];
#pragma unroll
                for (int i = 0; i < SIDE; i++) products[i * SIDE + j] = dot_of(slopes[i], deep);
            }
        }
        const float total = halve(products, width);
        const int i = lane() % (SIDE * SIDE);
        if (item < items && lane() % width < SIDE * SIDE) sums[(o + i / SIDE) * job.ins() + c + i % SIDE] += total;
    }
}

// Sums as below for the taps of one channel of a large kernel, a row of them at a time.
__device__ __forceinline__ void large_sums(const ConvJob& conv, const Tiling& tiling, bool adds, bool has, const float4& slope,
                                           const float* at, int row, float* sums) {
    const int width = tiling.lanes < WARP ? tiling.lanes : WARP, tap = lane() % width;
#pragma unroll 1
    for (int i = 0; i < conv.kernel; i++) {
        float products[ROW_TAPS] = {};
        if (has) row_products(conv, i, slope, at, row, products);
        const float total = halve(products, width);
        if (adds && tap < conv.kernel) sums[i * conv.kernel + tap] += total;
    }
}

// sums[c][tap] += over the tile's pixels, the gradient of the depthwise result times what the tap reads. weights: 1x1, of the
// first channel of the chunk.
__device__ __forceinline__ void depthwise_sums(const WeightJob& job, const Tiling& tiling, int count, int q0, const float* weights,
                                               const WeightShared& shared) {
    const ConvJob& conv = job.conv;
    const PaddedPlane plane = conv.plane();
    const int q = q0 + tiling.mine(), y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
    float* sums = shared.depthwise + warp() % job.parts() * job.ins() * job.most_taps();
    for (int first = 0; first < count; first += tiling.groups) {
        const int c = first + tiling.group();
        const bool has = c < count && q < tiling.quads;
        float4 slope = make_float4(0, 0, 0, 0);
        for (int o = 0; o < conv.outs && has; o++)
            slope += weights[(long long)o * conv.ins + c] * shared.slopes[o * tiling.lanes + tiling.mine()];
        const float* at = shared.padded + c * plane.floats + conv.stride * (y * plane.row + x);
        float* to = sums + c * job.most_taps();
        if (conv.taps() > MOST_TAPS) {
            large_sums(conv, tiling, c < count, has, slope, at, plane.row, to);
            continue;
        }
        float products[32];
#pragma unroll
        for (int i = 0; i < 32; i++) products[i] = 0;
        if (has) tap_products<false>(conv, 0, slope, at, plane.row, products);
        if (tiling.lanes >= WARP) {
            const float total = halve(products, WARP);
            if (c < count && lane() < conv.taps()) to[lane()] += total;
            continue;
        }
        float low[16], high[16];
#pragma unroll
        for (int i = 0; i < 16; i++) {
            low[i] = products[i];
            high[i] = products[16 + i];
        }
        const float totals[2] = {halve(low, 16), halve(high, 16)};
        const int tap = lane() % 16;
        if (c < count && tap < conv.taps()) to[tap] += totals[0];
        if (c < count && 16 + tap < conv.taps()) to[16 + tap] += totals[1];
    }
}

// Adds one image to the sums of channels c0 .. c0 + count - 1.
__device__ __forceinline__ void add_image(const CellView& cell, const GradView& g, const WeightJob& job, int image, int c0, int count,
                                          const WeightShared& shared) {
    const ConvJob& conv = job.conv;
    const Tiling tiling(conv.out_H, conv.out_W, job.lanes);
    const int v = image / cell.N;
    const Planes from = planes_from(cell, conv, v, image % cell.N);
    const unsigned char* bits = cell.pattern_of(image) + conv.bits;
    const SlopePlanes slopes(cell, g, job.slope, image);
    __syncthreads();
    for (int o = threadIdx.x; o < conv.outs; o += CELL_THREADS) shared.factors[o] = slopes.factors(cell, g, o);
    if (conv.taps()) load_activated(from, bits, true, conv, c0, count, shared.padded);
    for (int q0 = 0; q0 < tiling.quads; q0 += tiling.lanes) {
        const int q = q0 + tiling.mine(), y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
        const bool has = q < tiling.quads;
        __syncthreads();
        for (int o = tiling.group(); o < job.outs(); o += tiling.groups)
            shared.slopes[o * tiling.lanes + tiling.mine()] =
                has && o < conv.outs ? slopes.quad(shared.factors[o], o, y, x, conv.out_W) : make_float4(0, 0, 0, 0);
        for (int c = tiling.group(); c < job.ins(); c += tiling.groups)
            shared.deep[c * tiling.lanes + tiling.mine()] =
                has && c < count ? deep_quad(from, bits, true, conv, c0, c, y, x, shared.padded, shared.taps) : make_float4(0, 0, 0, 0);
        __syncthreads();
        pointwise_sums(job, tiling, count, shared);
        if (conv.taps()) depthwise_sums(job, tiling, count, q0, cell.weights_of(v) + conv.pointwise + c0, shared);
    }
}

// The sum over the warps that share it.
__device__ __forceinline__ float over_parts(const float* sums, int parts, int step) {
    float total = 0;
    for (int part = 0; part < parts; part++) total += sums[part * step];
    return total;
}

// The gradients of a chunk of a job's weights, of channels from c0 on.
__device__ __forceinline__ void weight_gradient(const CellView& cell, const GradView& g, const WeightJob& job, const ImageGroup& images,
                                                int c0, float* memory) {
    const ConvJob& conv = job.conv;
    const int count = conv.ins - c0 < conv.chunk ? conv.ins - c0 : conv.chunk, taps = conv.taps();
    const WeightShared shared(job, memory);
    const int pointwise = job.outs() * job.ins(), depthwise = job.ins() * job.most_taps();
    clear(memory, shared.floats / 4 * 4);
    __syncthreads();
    const float* weights = cell.weights_of(images.v) + conv.depthwise + c0 * taps;
    for (int i = threadIdx.x; i < count * taps; i += CELL_THREADS) shared.taps[i] = weights[i];
    for (int image = images.first(); image < images.end(); image++) add_image(cell, g, job, image, c0, count, shared);
    __syncthreads();
    float* dw = images.share();
    for (int i = threadIdx.x; i < conv.outs * count; i += CELL_THREADS) {
        const int o = i / count, c = i % count;
        dw[conv.pointwise + (long long)o * conv.ins + c0 + c] = over_parts(shared.pointwise + o * job.ins() + c, job.parts(), pointwise);
    }
    for (int i = threadIdx.x; i < count * taps; i += CELL_THREADS)
        dw[conv.depthwise + (long long)c0 * taps + i] =
            over_parts(shared.depthwise + i / taps * job.most_taps() + i % taps, job.parts(), depthwise);
}

// shares (V * groups, weights): of each group of images. The table is not __restrict__: the compiler would then hold more of the
// job in registers than there are, and spill.
__global__ void __launch_bounds__(CELL_THREADS, 2)
weight_gradient_kernel(CellView cell, GradView g, const WeightJobs* table, int groups, long long weights, float* shares) {
    SHARED_DYNAMIC(float, memory);
    const WeightJob& job = table->job[blockIdx.z];
    if ((int)blockIdx.x >= job.chunks()) return;
    const int c0 = blockIdx.x * job.conv.chunk;
    const ImageGroup images{cell.N, groups, weights, shares, (int)blockIdx.y / groups, (int)blockIdx.y % groups};
    if (job.lanes == 0) wide_weight_gradient(cell, g, job, images, c0, memory);
    else weight_gradient(cell, g, job, images, c0, memory);
}

// sums (V, weights): of the groups.
__global__ void __launch_bounds__(CELL_THREADS) add_shares_kernel(int groups, long long weights, const float* shares, float* sums) {
    for (long long i = (long long)blockIdx.x * CELL_THREADS + threadIdx.x; i < weights; i += (long long)gridDim.x * CELL_THREADS) {
        float total = 0;
        for (int group = 0; group < groups; group++) total += shares[((long long)blockIdx.y * groups + group) * weights + i];
        sums[blockIdx.y * weights + i] = total;
    }
}

}  // namespace sgl_fast
