// Gradients of convolutions' weights: a block some images of a learner, a convolution and a chunk of its input channels. Each
// group of images has its own sums, added in one order afterwards. A tile of pixels at a time, in shared memory: what the
// result's norm passes back (grad z), what the 1x1 convolution read. Sums over a tile's pixels are taken from registers by
// halving: of N sums each lane ends with one.
#include "wgrad_tensor_core.cuh"

namespace sgl_fast {

// Where things lie in shared memory: as WgradLayout says.
struct WgradShared {
    float4 *grad_z, *pointwise_in;
    float *padded, *taps, *pointwise, *depthwise;
    BnFactors* factors;
    int floats;

    WgradShared(const WgradJob& job, float* shared) {
        const WgradLayout at(job);
        grad_z = (float4*)(shared + at.grad_z);
        pointwise_in = (float4*)(shared + at.pointwise_in);
        factors = (BnFactors*)(shared + at.factors);
        padded = shared + at.padded;
        pointwise = shared + at.pointwise;
        depthwise = shared + at.depthwise;
        taps = shared + at.taps;
        floats = at.floats;
    }
};

// Of 2 STEP values each lane keeps half, and its partner's part of it.
template <int STEP> __forceinline__ void halve_once(float* v) {
    const bool upper = lane() & STEP;
#pragma unroll
    for (int i = 0; i < STEP; i++) {
        const float low = v[i], high = v[i + STEP];  // apart: an index that varies would move v to the stack
        v[i] = (upper ? high : low) + __shfl_xor_sync(WHOLE_WARP, upper ? low : high, STEP);
    }
    if constexpr (STEP > 1) halve_once<STEP / 2>(v);
}

// Sums of N values over `width` lanes, N at most width: lane i of each N lanes has that of value i.
template <int N> __forceinline__ float halve(float* v, int width) {
    halve_once<N / 2>(v);
    float total = v[0];
    for (int step = N; step < width; step *= 2) total += __shfl_xor_sync(WHOLE_WARP, total, step);
    return total;
}

// sums[o][i] += the products of grad z and what the 1x1 convolution read, over the tile's pixels. Items of SIDE x SIDE are
// dealt to the groups of threads; all threads of a warp come as often.
__forceinline__ void pointwise_sums(const WgradJob& job, const Tiling& tiling, int count, const WgradShared& shared) {
    const int in_items = (count + SIDE - 1) / SIDE, items = job.outs() / SIDE * in_items;
    float* sums = shared.pointwise + warp() % job.parts() * job.outs() * job.ins();
    const int width = tiling.lanes < WARP ? tiling.lanes : WARP;
    for (int first = 0; first < items; first += tiling.groups) {
        const int item = first + tile_group(tiling), o = item / in_items * SIDE, c = item % in_items * SIDE;
        float products[SIDE * SIDE];
#pragma unroll
        for (int i = 0; i < SIDE * SIDE; i++) products[i] = 0;
        if (item < items) {
            float4 grad_z[SIDE];
#pragma unroll
            for (int i = 0; i < SIDE; i++) grad_z[i] = shared.grad_z[(o + i) * tiling.lanes + tile_lane(tiling)];
#pragma unroll
            for (int j = 0; j < SIDE; j++) {
                const float4 pointwise_in = shared.pointwise_in[(c + j) * tiling.lanes + tile_lane(tiling)];
#pragma unroll
                for (int i = 0; i < SIDE; i++) products[i * SIDE + j] = dot_of(grad_z[i], pointwise_in);
            }
        }
        const float total = halve<SIDE * SIDE>(products, width);
        const int i = lane() % (SIDE * SIDE);
        if (item < items && lane() % width < SIDE * SIDE) sums[(o + i / SIDE) * job.ins() + c + i % SIDE] += total;
    }
}

// Sums as below for the taps of one channel of a large kernel, a row of them at a time.
__forceinline__ void large_sums(const ConvJob& conv, const Tiling& tiling, bool adds, bool has, const float4& dz,
                                const float* at, int row, float* sums) {
    const int width = tiling.lanes < WARP ? tiling.lanes : WARP, tap = lane() % width;
#pragma unroll 1
    for (int i = 0; i < conv.kernel; i++) {
        float products[ROW_TAPS] = {};
        if (has) row_products(conv, i, dz, at, row, products);
        const float total = halve<ROW_TAPS>(products, width);
        if (adds && tap < conv.kernel) sums[i * conv.kernel + tap] += total;
    }
}

// sums[c][tap] += over the tile's pixels, the gradient of the depthwise result times what the tap reads. weights: 1x1, of the
// first channel of the chunk.
__forceinline__ void depthwise_sums(const WgradJob& job, const Tiling& tiling, int count, int q0, const float* weights,
                                    const WgradShared& shared) {
    const ConvJob& conv = job.conv;
    const PaddedPlane plane = conv.plane();
    const int q = q0 + tile_lane(tiling), y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
    float* sums = shared.depthwise + warp() % job.parts() * job.ins() * job.most_taps();
    for (int first = 0; first < count; first += tiling.groups) {
        const int c = first + tile_group(tiling);
        const bool has = c < count && q < tiling.quads;
        float4 dz = make_float4(0, 0, 0, 0);
        for (int o = 0; o < conv.outs && has; o++)
            dz += weights[(long long)o * conv.ins + c] * shared.grad_z[o * tiling.lanes + tile_lane(tiling)];
        const float* at = shared.padded + c * plane.floats + conv.stride * (y * plane.row + x);
        float* to = sums + c * job.most_taps();
        if (conv.taps() > MOST_TAPS) {
            large_sums(conv, tiling, c < count, has, dz, at, plane.row, to);
            continue;
        }
        float products[32];
#pragma unroll
        for (int i = 0; i < 32; i++) products[i] = 0;
        if (has) tap_products<false>(conv, 0, dz, at, plane.row, products);
        if (tiling.lanes >= WARP) {
            const float total = halve<32>(products, WARP);
            if (c < count && lane() < conv.taps()) to[lane()] += total;
            continue;
        }
        const float totals[2] = {halve<16>(products, 16), halve<16>(products + 16, 16)};
        const int tap = lane() % 16;
        if (c < count && tap < conv.taps()) to[tap] += totals[0];
        if (c < count && 16 + tap < conv.taps()) to[16 + tap] += totals[1];
    }
}

// Adds one image to the sums of channels c0 .. c0 + count - 1.
__forceinline__ void add_image(const CellView& cell, const GradView& g, const WgradJob& job, int image, int c0,
                               int count, const WgradShared& shared) {
    const ConvJob& conv = job.conv;
    const Tiling tiling(conv.out_H, conv.out_W, job.lanes);
    const int v = image / cell.N;
    const Planes from = planes_from(cell, conv, v, image % cell.N);
    const unsigned char* mask = cell.pattern_of(image) + conv.relu_mask;
    const GradZPlanes grad_z(cell, g, job.grad_z, image);
    __syncthreads();
    for (int o = threadIdx.x; o < conv.outs; o += CELL_THREADS) shared.factors[o] = grad_z.factors(cell, g, o);
    if (conv.taps()) load_activated(from, mask, true, conv, c0, count, shared.padded);
    for (int q0 = 0; q0 < tiling.quads; q0 += tiling.lanes) {
        const int q = q0 + tile_lane(tiling), y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
        const bool has = q < tiling.quads;
        __syncthreads();
        for (int o = tile_group(tiling); o < job.outs(); o += tiling.groups)
            shared.grad_z[o * tiling.lanes + tile_lane(tiling)] =
                has && o < conv.outs ? grad_z.quad(shared.factors[o], o, y, x, conv.out_W) : make_float4(0, 0, 0, 0);
        for (int c = tile_group(tiling); c < job.ins(); c += tiling.groups)
            shared.pointwise_in[c * tiling.lanes + tile_lane(tiling)] =
                has && c < count ? pointwise_in_quad(from, mask, true, conv, c0, c, y, x, shared.padded, shared.taps)
                                 : make_float4(0, 0, 0, 0);
        __syncthreads();
        pointwise_sums(job, tiling, count, shared);
        if (conv.taps()) depthwise_sums(job, tiling, count, q0, cell.weights_of(v) + conv.pointwise + c0, shared);
    }
}

// The sum over the warps that share it.
__forceinline__ float over_parts(const float* sums, int parts, int step) {
    float total = 0;
    for (int part = 0; part < parts; part++) total += sums[part * step];
    return total;
}

// The gradients of a chunk of a job's weights, of channels from c0 on.
__forceinline__ void wgrad(const CellView& cell, const GradView& g, const WgradJob& job, const ImageGroup& images,
                           int c0, float* memory) {
    const ConvJob& conv = job.conv;
    const int count = conv.ins - c0 < conv.chunk ? conv.ins - c0 : conv.chunk, taps = conv.taps();
    const WgradShared shared(job, memory);
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
        dw[conv.pointwise + (long long)o * conv.ins + c0 + c] =
            over_parts(shared.pointwise + o * job.ins() + c, job.parts(), pointwise);
    }
    for (int i = threadIdx.x; i < count * taps; i += CELL_THREADS)
        dw[conv.depthwise + (long long)c0 * taps + i] =
            over_parts(shared.depthwise + i / taps * job.most_taps() + i % taps, job.parts(), depthwise);
}

// shares (V * groups, weights): of each group of images. The table is not __restrict__: the compiler would then hold more of the
// job in registers than there are, and spill.
KERNEL __launch_bounds__(CELL_THREADS, 2)
    wgrad_kernel(CellView cell, GradView g, const WgradJobs* table, int groups, long long weights, float* shares) {
    SHARED_DYNAMIC(float, memory);
    const WgradJob& job = table->job[blockIdx.z];
    if ((int)blockIdx.x >= job.chunks()) return;
    const int c0 = blockIdx.x * job.conv.chunk;
    const ImageGroup images{cell.N, groups, weights, shares, (int)blockIdx.y / groups, (int)blockIdx.y % groups};
    if (job.lanes == 0)
        wgrad_tensor_core(cell, g, job, images, c0, memory);
    else
        wgrad(cell, g, job, images, c0, memory);
}

// sums (V, weights): of the groups.
KERNEL __launch_bounds__(CELL_THREADS)
    add_shares_kernel(int groups, long long weights, const float* shares, float* sums) {
    for (long long i = (long long)blockIdx.x * CELL_THREADS + threadIdx.x; i < weights;
         i += (long long)gridDim.x * CELL_THREADS) {
        float total = 0;
        for (int group = 0; group < groups; group++)
            total += shares[((long long)blockIdx.y * groups + group) * weights + i];
        sums[blockIdx.y * weights + i] = total;
    }
}

}  // namespace sgl_fast
