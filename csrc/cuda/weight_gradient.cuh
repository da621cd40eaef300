// Gradients of convolutions' weights: a block some images of a learner and a convolution. Each group of images has its own
// sums, added in one order afterwards.
#pragma once

#include "convolve.cuh"
#include "slopes.cuh"

namespace sgl_fast {

constexpr int MOST_WEIGHT_JOBS = 128;

// conv: how the forward computed it; slope: what its result's norm passes back.
struct WeightJob {
    ConvJob conv;
    Slope slope;
};

struct WeightJobs {
    WeightJob job[MOST_WEIGHT_JOBS];
};

__host__ __device__ inline int weight_floats(const ConvJob& job) {
    return job.chunk * (PaddedPlane(job).floats + 4 * Tiling(job.out_H, job.out_W).tile() + job.taps()) + 4 * job.outs;
}

// A tile's pixel i: its place in the plane, or -1 past the end of the row or the plane.
__device__ __forceinline__ int pixel_of(const ConvJob& job, const Tiling& tiling, int q0, int i) {
    const int q = q0 + i / 4, y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4 + i % 4;
    return q < tiling.quads && x < job.out_W ? y * job.out_W + x : -1;
}

// dw[o][c] += sum over the tile's pixels of slope(o) * deep(c); a warp an output channel.
__device__ __forceinline__ void pointwise_sums(const CellView& cell, const GradView& g, const WeightJob& job, const Tiling& tiling,
                                               int image, int c0, int count, int q0, const SlopeFactors* factors, const float* deep, float* dw) {
    const int floats = 4 * tiling.tile();
    const SlopePlanes slopes(cell, g, job.slope, image);
    for (int o = warp(); o < job.conv.outs; o += CELL_WARPS) {
        const SlopeFactors f = factors[o];
        for (int c = 0; c < count; c++) {
            float total = 0;
            for (int i = lane(); i < floats; i += WARP) {
                const int index = pixel_of(job.conv, tiling, q0, i);
                if (index >= 0) total += slopes.pixel(f, o, index) * deep[c * floats + i];
            }
            total = warp_sum(total);
            if (lane() == 0) dw[job.conv.pointwise + (long long)o * job.conv.ins + c0 + c] += total;
        }
    }
}

// deep[c] = the sum over o of weight(o, c0 + c) * slope(o): the gradient of the depthwise results.
__device__ __forceinline__ void deep_slopes(const CellView& cell, const GradView& g, const WeightJob& job, const Tiling& tiling,
                                            int image, int c0, int count, int q0, const SlopeFactors* factors, float* deep) {
    const int floats = 4 * tiling.tile();
    const float* w = cell.weights_of(image / cell.N) + job.conv.pointwise + c0;
    const SlopePlanes slopes(cell, g, job.slope, image);
    for (int i = threadIdx.x; i < count * floats; i += CELL_THREADS) {
        const int c = i / floats, index = pixel_of(job.conv, tiling, q0, i % floats);
        float total = 0;
        for (int o = 0; o < job.conv.outs && index >= 0; o++)
            total += w[(long long)o * job.conv.ins + c] * slopes.pixel(factors[o], o, index);
        deep[i] = total;
    }
}

// dw[c][tap] += sum over the tile's pixels of deep(c) * what the tap reads; a warp a tap.
__device__ __forceinline__ void depthwise_sums(const WeightJob& job, const Tiling& tiling, int c0, int count, int q0,
                                               const float* deep, const float* padded, float* dw) {
    const ConvJob& conv = job.conv;
    const PaddedPlane plane(conv);
    const int floats = 4 * tiling.tile(), taps = conv.kernel * conv.kernel, reach = conv.kernel / 2 * conv.dilation;
    for (int i = warp(); i < count * taps; i += CELL_WARPS) {
        const int c = i / taps, down = i % taps / conv.kernel * conv.dilation - reach, right = i % conv.kernel * conv.dilation - reach;
        float total = 0;
        for (int p = lane(); p < floats; p += WARP) {
            const int index = pixel_of(conv, tiling, q0, p);
            if (index < 0) continue;
            const int y = conv.stride * (index / conv.out_W) + down + PAD, x = conv.stride * (index % conv.out_W) + right + PAD;
            total += deep[c * floats + p] * padded[c * plane.floats + y * plane.row + x];
        }
        total = warp_sum(total);
        if (lane() == 0) dw[conv.depthwise + (long long)c0 * taps + i] += total;
    }
}

__device__ __forceinline__ void add_image(const CellView& cell, const GradView& g, const WeightJob& job, int image, float* shared,
                                          float* dw) {
    const ConvJob& conv = job.conv;
    const Tiling tiling(conv.out_H, conv.out_W);
    const PaddedPlane plane(conv);
    const int v = image / cell.N, taps = conv.taps();
    const Planes from = planes_from(cell, conv, v, image % cell.N);
    const unsigned char* bits = cell.pattern_of(image) + conv.bits;
    float *deep = shared, *padded = deep + conv.chunk * 4 * tiling.tile(), *depthwise = padded + conv.chunk * plane.floats;
    SlopeFactors* factors = (SlopeFactors*)(depthwise + conv.chunk * taps);
    const SlopePlanes slopes(cell, g, job.slope, image);
    __syncthreads();
    for (int o = threadIdx.x; o < conv.outs; o += CELL_THREADS) factors[o] = slopes.factors(cell, g, o);
    for (int c0 = 0; c0 < conv.ins; c0 += conv.chunk) {
        const int count = conv.ins - c0 < conv.chunk ? conv.ins - c0 : conv.chunk;
        __syncthreads();
        if (taps) load_padded(from, bits, true, c0, count, plane, padded);
        for (int i = threadIdx.x; i < count * taps; i += CELL_THREADS)
            depthwise[i] = cell.weights_of(v)[conv.depthwise + c0 * taps + i];
        for (int q0 = 0; q0 < tiling.quads; q0 += tiling.tile()) {
            __syncthreads();
            load_deep(from, bits, true, conv, tiling, c0, count, q0, padded, depthwise, (float4*)deep);
            __syncthreads();
            pointwise_sums(cell, g, job, tiling, image, c0, count, q0, factors, deep, dw);
            if (!taps) continue;
            __syncthreads();
            deep_slopes(cell, g, job, tiling, image, c0, count, q0, factors, deep);
            __syncthreads();
            depthwise_sums(job, tiling, c0, count, q0, deep, padded, dw);
        }
    }
}

// shares (V * groups, weights), 0 before: of each group of images.
__global__ void __launch_bounds__(CELL_THREADS, 2)
weight_gradient_kernel(CellView cell, GradView g, WeightJobs jobs, int groups, long long weights, float* shares) {
    SHARED_DYNAMIC(float, shared);
    const int v = blockIdx.x / groups, group = blockIdx.x % groups;
    const int first = cell.N * group / groups, end = cell.N * (group + 1) / groups;
    for (int n = first; n < end; n++)
        add_image(cell, g, jobs.job[blockIdx.y], v * cell.N + n, shared, shares + blockIdx.x * weights);
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
