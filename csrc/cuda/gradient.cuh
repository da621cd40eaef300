// Gradients in the inputs of convolutions and pools: a block an image, a target and some of its channels. Every job's 1x1
// convolution is undone into planes with a border in shared memory, from which each thread gathers what four neighbouring
// pixels of R channels receive.
#pragma once

#include "convolve.cuh"
#include "rest.cuh"

namespace sgl_fast {

// Floats of shared memory for R channels a thread: planes, sums, 1x1 weights and factors for at most `outs` slopes.
__host__ __device__ inline int slope_floats(const Target& target, int outs, int R) {
    const Tiling tiling(target.H, target.W);
    return tiling.groups * R * (target.plane().floats + 4 * tiling.lanes + outs) + 4 * outs;
}

// planes[c] = the sum over o of weight(o, c0 + c) * slope(o), for channels c < count.
template <int R>
__device__ __forceinline__ void undo_pointwise(const CellView& cell, const GradView& g, const SlopeJob& job, const Target& target,
                                               int image, int c0, int count, float* weights, float* planes) {
    const PaddedPlane tile = target.plane();
    const float* w = cell.weights_of(image / cell.N) + job.pointwise;
    const SlopePlanes slopes(cell, g, job.slope, image);
    SlopeFactors* factors = (SlopeFactors*)(weights + job.outs * count);
    for (int o = threadIdx.x; o < job.outs; o += CELL_THREADS) factors[o] = slopes.factors(cell, g, o);
    for (int i = threadIdx.x; i < job.outs * count; i += CELL_THREADS) {
        const int c = c0 + i % count;
        weights[i] = c < target.channels ? w[(long long)(i / count) * target.channels + c] : 0.0f;
    }
    __syncthreads();
    const Tiling out(target.out_H, target.out_W);
    for (int i = threadIdx.x; i < out.quads * (count / R); i += CELL_THREADS) {
        const int q = i % out.quads, c = i / out.quads * R, y = q / out.quads_in_row, x = q % out.quads_in_row * 4;
        float4 sums[R];
#pragma unroll
        for (int r = 0; r < R; r++) sums[r] = make_float4(0, 0, 0, 0);
        for (int o = 0; o < job.outs; o++) {
            const float4 slope = slopes.quad(factors[o], o, y, x, target.out_W);
            float w[R];
            read_weights<R>(weights + o * count + c, w);
#pragma unroll
            for (int r = 0; r < R; r++) sums[r] += w[r] * slope;
        }
        float* to = planes + tile.at(y, x);
#pragma unroll
        for (int r = 0; r < R; r++) *(float4*)(to + (c + r) * tile.floats) = sums[r];
    }
    __syncthreads();
}

// What input pixel (y, x) receives through a depthwise convolution of stride 2. plane: of the slopes, with its border.
__device__ __forceinline__ float undo_strided(const SlopeJob& job, const PaddedPlane& tile, const float* plane, const float* w, int y, int x) {
    const int reach = job.kernel / 2 * job.dilation;
    float total = 0;
    for (int i = 0; i < job.kernel; i++)
        for (int j = 0; j < job.kernel; j++) {
            const int up = y - job.first + reach - i * job.dilation, left = x - job.first + reach - j * job.dilation;
            const float tap = job.kernel == 1 ? 1.0f : w[i * job.kernel + j];
            if (up % 2 == 0 && left % 2 == 0) total += tap * plane[tile.at(up / 2, left / 2)];
        }
    return total;
}

// What four neighbouring pixels of a row receive.
__device__ __forceinline__ float4 undo_quad(const SlopeJob& job, const PaddedPlane& tile, const float* plane, const float* w, int y, int x) {
    if (job.stride == 2)
        return make_float4(undo_strided(job, tile, plane, w, y, x), undo_strided(job, tile, plane, w, y, x + 1),
                           undo_strided(job, tile, plane, w, y, x + 2), undo_strided(job, tile, plane, w, y, x + 3));
    if (job.kernel == 1) return *(const float4*)(plane + tile.at(y, x));
    const int more = tile.pad - pad_for(job.kernel / 2 * job.dilation);  // border than its windows need
    return depthwise_quad<1, true>(job.kernel, job.dilation, plane + (y + more) * tile.row + x + more, tile.row, w);
}

template <int R>
__global__ void __launch_bounds__(CELL_THREADS, 2) gradient_kernel(CellView cell, GradView g, const SlopeJobs* __restrict__ table) {
    const SlopeJobs& jobs = *table;
    SHARED_DYNAMIC(float, shared);
    const Target& target = jobs.target[blockIdx.z];
    const int image = blockIdx.y, v = image / cell.N, all = target.all(cell.C);
    const Tiling tiling(target.H, target.W);
    const PaddedPlane tile = target.plane();
    const int count = tiling.groups * R, c0 = blockIdx.x * count, last = c0 + count < all ? c0 + count : all;
    if (c0 >= all) return;
    float4* sums = (float4*)(shared + count * tile.floats);  // of each thread's quads, R a thread
    float* weights = (float*)(sums + count * tiling.lanes);
    clear(shared, count * tile.floats);
    const int mine = tiling.mine(), group = tiling.group();
    const int end = group * R + R < all - c0 ? group * R + R : all - c0;
    for (int q0 = 0; q0 < tiling.quads; q0 += tiling.lanes) {
        const int q = q0 + mine, y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
        for (int r = 0; r < R; r++) sums[(group * R + r) * tiling.lanes + mine] = make_float4(0, 0, 0, 0);
        for (int j = target.first_job; j < target.first_job + target.jobs && c0 < target.channels; j++) {
            const SlopeJob& job = jobs.job[j];
            __syncthreads();
            undo_pointwise<R>(cell, g, job, target, image, c0, count, weights, shared);
            const float* taps = cell.weights_of(v) + job.depthwise;
            for (int c = group * R; c < end && q < tiling.quads; c++) {
                if (c0 + c >= target.channels) break;
                sums[c * tiling.lanes + mine] += undo_quad(job, tile, shared + c * tile.floats,
                                                           taps + (long long)(c0 + c) * job.kernel * job.kernel, y, x);
            }
        }
        for (int c = group * R; c < end && q < tiling.quads; c++)
            store_open(cell, target, image, c0 + c, y, x, sums[c * tiling.lanes + mine], target_plane(cell, g, target, image, c0 + c));
    }
    if (target.to == To::state) {
        __syncthreads();
        add_rest(cell, g, target, jobs.state[blockIdx.z], image, c0, last - c0, shared);
    }
    finish_part(cell, g, jobs, target, image, c0, last, (all + count - 1) / count);
}

}  // namespace sgl_fast
