// Gradients in the inputs of convolutions and pools: a block an image, a target and some of its channels. Every job's 1x1
// convolution is undone into planes with a border in shared memory, from which each thread gathers what four neighbouring
// pixels of R channels receive.
#include "convolve.cuh"
#include "pool_skip_dgrad.cuh"

namespace sgl_fast {

// planes[c] = the sum over o of weight(o, c0 + c) * dz(o), for channels c < count.
template <int R>
__forceinline__ void pointwise_dgrad(const CellView& cell, const GradView& g, const DgradJob& job, const Target& target,
                                     int image, int c0, int count, float* weights, float* planes) {
    const PaddedPlane tile = target.plane();
    const float* w = cell.weights_of(image / cell.N) + job.pointwise;
    const GradZPlanes grad_z(cell, g, job.grad_z, image);
    BnFactors* factors = (BnFactors*)(weights + job.outs * count);
    for (int o = threadIdx.x; o < job.outs; o += CELL_THREADS) factors[o] = grad_z.factors(cell, g, o);
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
            const float4 dz = grad_z.quad(factors[o], o, y, x, target.out_W);
            float w[R];
            read_weights<R>(weights + o * count + c, w);
#pragma unroll
            for (int r = 0; r < R; r++) sums[r] += w[r] * dz;
        }
        float* to = planes + tile.at(y, x);
#pragma unroll
        for (int r = 0; r < R; r++) *(float4*)(to + (c + r) * tile.floats) = sums[r];
    }
    __syncthreads();
}

// What four neighbouring pixels of a row receive through a depthwise convolution of stride 2, each by the taps of its parity.
// plane: of grad z, with its border.
template <int K, int D>
__forceinline__ float4 strided_dgrad(const PaddedPlane& tile, const float* plane, const float* w, int y, int x) {
    constexpr int reach = K / 2 * D, back = (reach / 2 + 1) / 2 * 2, width = (back + (3 + reach) / 2 + 2) / 2 * 2;
    float sums[4] = {0, 0, 0, 0};
    const int odd = (y + reach) % 2;
    if (D == 2 && odd) return make_float4(0, 0, 0, 0);
#pragma unroll(K <= 5 ? K : 1)
    for (int i = D == 1 ? odd : 0; i < K; i += D == 1 ? 2 : 1) {
        const float* row = plane + tile.at((y + reach - i * D) / 2, x / 2 - back);
        float window[width];
#pragma unroll
        for (int c = 0; c < width; c += 2) {
            const float2 two = *(const float2*)(row + c);
            window[c] = two.x;
            window[c + 1] = two.y;
        }
#pragma unroll
        for (int j = 0; j < K; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if ((e + reach - j * D) % 2 == 0) sums[e] += w[i * K + j] * window[(e + reach - j * D) / 2 + back];
    }
    return make_float4(sums[0], sums[1], sums[2], sums[3]);
}

template <int K>
__forceinline__ float4 strided_dgrad(int dilation, const PaddedPlane& tile, const float* plane, const float* w, int y,
                                     int x) {
    return dilation == 1 ? strided_dgrad<K, 1>(tile, plane, w, y, x) : strided_dgrad<K, 2>(tile, plane, w, y, x);
}

__forceinline__ float4 strided_dgrad(const DgradJob& job, const PaddedPlane& tile, const float* plane, const float* w,
                                     int y, int x) {
    if (job.kernel == 3) return strided_dgrad<3>(job.dilation, tile, plane, w, y, x);
    if (job.kernel == 5) return strided_dgrad<5>(job.dilation, tile, plane, w, y, x);
    if (job.kernel == 7) return strided_dgrad<7>(job.dilation, tile, plane, w, y, x);
    if (y % 2 != job.first) return make_float4(0, 0, 0, 0);
    const float2 two = *(const float2*)(plane + tile.at(y / 2, x / 2));
    return job.first ? make_float4(0, two.x, 0, two.y) : make_float4(two.x, 0, two.y, 0);
}

// What four neighbouring pixels of a row receive.
__forceinline__ float4 depthwise_dgrad(const DgradJob& job, const PaddedPlane& tile, const float* plane, const float* w,
                                       int y, int x) {
    if (job.stride == 2) return strided_dgrad(job, tile, plane, w, y, x);
    if (job.kernel == 1) return *(const float4*)(plane + tile.at(y, x));
    const int more = tile.pad - pad_for(job.kernel / 2 * job.dilation);  // border than its windows need
    return depthwise_quad<1, true>(job.kernel, job.dilation, plane + (y + more) * tile.row + x + more, tile.row, w);
}

template <int R> __forceinline__ void dgrad_block(const CellView& cell, const GradView& g, const DgradJobs& jobs) {
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
    const int mine = tile_lane(tiling), group = tile_group(tiling);
    const int end = group * R + R < all - c0 ? group * R + R : all - c0;
    for (int q0 = 0; q0 < tiling.quads; q0 += tiling.lanes) {
        const int q = q0 + mine, y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
        for (int r = 0; r < R; r++) sums[(group * R + r) * tiling.lanes + mine] = make_float4(0, 0, 0, 0);
        for (int j = target.first_job; j < target.first_job + target.jobs && c0 < target.channels; j++) {
            const DgradJob& job = jobs.job[j];
            __syncthreads();
            pointwise_dgrad<R>(cell, g, job, target, image, c0, count, weights, shared);
            const float* taps = cell.weights_of(v) + job.depthwise;
            for (int c = group * R; c < end && q < tiling.quads; c++) {
                if (c0 + c >= target.channels) break;
                sums[c * tiling.lanes + mine] += depthwise_dgrad(
                    job, tile, shared + c * tile.floats, taps + (long long)(c0 + c) * job.kernel * job.kernel, y, x);
            }
        }
        for (int c = group * R; c < end && q < tiling.quads; c++)
            store_open(cell, target, image, c0 + c, y, x, sums[c * tiling.lanes + mine],
                       target_plane(cell, g, target, image, c0 + c));
    }
    if (target.to == To::state) {
        __syncthreads();
        add_pool_skip_dgrad(cell, g, target, jobs.state[blockIdx.z], image, c0, last - c0, shared);
    }
    finish_part(cell, g, jobs, target, image, c0, last, (all + count - 1) / count);
}

KERNEL __launch_bounds__(CELL_THREADS, 2)
    dgrad_kernel_1(CellView cell, GradView g, const DgradJobs* __restrict__ jobs) {
    dgrad_block<1>(cell, g, *jobs);
}
KERNEL __launch_bounds__(CELL_THREADS, 2)
    dgrad_kernel_2(CellView cell, GradView g, const DgradJobs* __restrict__ jobs) {
    dgrad_block<2>(cell, g, *jobs);
}
KERNEL __launch_bounds__(CELL_THREADS, 2)
    dgrad_kernel_4(CellView cell, GradView g, const DgradJobs* __restrict__ jobs) {
    dgrad_block<4>(cell, g, *jobs);
}

}  // namespace sgl_fast
