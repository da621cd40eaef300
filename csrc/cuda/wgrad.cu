// Gradients of convolutions' weights: a block some images of a learner, a convolution and a chunk of its input channels. Each
// group of images has its own sums, added in one order afterwards. A tile of pixels at a time, in shared memory: what the
// result's norm passes back (grad z), what the 1x1 convolution read. A thread keeps the sums of SIDE x SIDE 1x1 weights and of a
// channel's taps in registers until the block's images are done; those of different pixels are added then.
#include "wgrad_tensor_core.cuh"

namespace sgl_fast {

// Where things lie in shared memory: as WgradLayout says.
struct WgradShared {
    float4 *grad_z, *pointwise_in;
    float *padded, *taps, *pointwise;
    BnFactors* factors;

    WgradShared(const WgradJob& job, float* shared) {
        const WgradLayout at(job);
        grad_z = (float4*)(shared + at.grad_z);
        pointwise_in = (float4*)(shared + at.pointwise_in);
        factors = (BnFactors*)(shared + at.factors);
        padded = shared + at.padded;
        taps = shared + at.taps;
        pointwise = shared + at.pointwise;
    }
};

// Items of which each has as many threads; the threads left over have an item past the last.
struct Share {
    int threads, item, mine;  // mine: which of the item's threads

    explicit Share(const PowerOfTwo& threads)
        : threads(threads), item((int)threadIdx.x / threads), mine((int)threadIdx.x % threads) {}
};

// A thread's sums over its quads of all images.
struct WgradSums {
    float pointwise[SIDE * SIDE];  // (outs, ins)
    float depthwise[MOST_TAPS];

    WgradSums() {
#pragma unroll
        for (int i = 0; i < SIDE * SIDE; i++) pointwise[i] = 0;
#pragma unroll
        for (int i = 0; i < MOST_TAPS; i++) depthwise[i] = 0;
    }
};

// sums[o][i] += the products of grad z and what the 1x1 convolution read, over the tile's pixels.
__forceinline__ void add_pointwise(const WgradJob& job, const WgradShared& shared, WgradSums& sums) {
    const Tiling& tiling = job.tiling;
    const Share share(job.pointwise_threads);
    if (share.item >= job.pointwise_items()) return;
    const float4* dz = shared.grad_z + share.item / job.in_items * SIDE * tiling.lanes;
    const float4* in = shared.pointwise_in + share.item % job.in_items * SIDE * tiling.lanes;
    for (int at = share.mine; at < tiling.lanes; at += share.threads) {
        float4 grad_z[SIDE];
#pragma unroll
        for (int i = 0; i < SIDE; i++) grad_z[i] = dz[i * tiling.lanes + at];
#pragma unroll
        for (int j = 0; j < SIDE; j++) {
            const float4 pointwise_in = in[j * tiling.lanes + at];
#pragma unroll
            for (int i = 0; i < SIDE; i++) sums.pointwise[i * SIDE + j] += dot_of(grad_z[i], pointwise_in);
        }
    }
}

// sums[tap] += over the tile's pixels, the gradient of the depthwise result times what the tap reads.
__forceinline__ void add_depthwise(const WgradJob& job, int count, int q0, const WgradShared& shared, WgradSums& sums) {
    const ConvJob& conv = job.conv;
    const Tiling& tiling = job.tiling;
    const PaddedPlane plane = conv.plane();
    const Share share(job.depthwise_threads);
    const int c = job.channel_of(share.item), part = share.item - c * job.tap_parts();
    if (c >= count) return;
    const float* weights = shared.pointwise + c * conv.outs;
    const int end = tiling.quads - q0 < tiling.lanes ? tiling.quads - q0 : tiling.lanes.of;
    for (int at = share.mine; at < end; at += share.threads) {
        const int y = tiling.y(q0 + at), x = tiling.x(q0 + at);
        float4 dz = make_float4(0, 0, 0, 0);
#pragma unroll 1  // more at a time would spill
        for (int o = 0; o < conv.outs; o++) dz += weights[o] * shared.grad_z[o * tiling.lanes + at];
        const float* window = shared.padded + c * plane.floats + conv.stride * (y * plane.row + x);
        if (conv.kernel == 3)
            tap_products<3, 3>(conv, 0, dz, window, plane.row, sums.depthwise);
        else if (conv.kernel == 5)
            tap_products<5, 5>(conv, 0, dz, window, plane.row, sums.depthwise);
        else
            tap_products<ROWS_OF_7, 7>(conv, part, dz, window, plane.row, sums.depthwise);
    }
}

// Grad z in a tile from q0 on, READS channels of a thread at a time. Where planes lie is found for each tile anew: a block
// that remembers it has too few registers for its sums.
__forceinline__ void load_grad_z(const CellView& cell, const GradView& g, const WgradJob& job, int image, int q0,
                                 const WgradShared& shared) {
    const ConvJob& conv = job.conv;
    const Tiling& tiling = job.tiling;
    const int lane = tile_lane(tiling), q = q0 + lane;
    const bool has = q < tiling.quads;
    const int at = has ? q : 0, y = tiling.y(at), x = tiling.x(at);
    const GradZPlanes grad_z(cell, g, job.grad_z, image);
    for (int o0 = tile_group(tiling); o0 < job.outs(); o0 += READS * tiling.groups) {
        float4 dy[READS], z[READS];
        grad_z.read(o0, tiling.groups, conv.outs - 1, y, x, conv.out_W, dy, z);
#pragma unroll
        for (int i = 0; i < READS; i++) {
            const int o = o0 + i * tiling.groups;
            if (o >= job.outs()) continue;
            shared.grad_z[o * tiling.lanes + lane] =
                has && o < conv.outs ? GradZPlanes::quad(shared.factors[o], dy[i], z[i], x, conv.out_W)
                                     : make_float4(0, 0, 0, 0);
        }
    }
}

// What the 1x1 convolution reads, in a tile from q0 on.
__forceinline__ void load_pointwise_in(const CellView& cell, const WgradJob& job, int image, int c0, int count, int q0,
                                       const WgradShared& shared) {
    const ConvJob& conv = job.conv;
    const Tiling& tiling = job.tiling;
    const int lane = tile_lane(tiling), q = q0 + lane, y = tiling.y(q), x = tiling.x(q);
    const Planes from = planes_from(cell, conv, image / cell.N, image % cell.N);
    const unsigned char* mask = cell.pattern_of(image) + conv.relu_mask;
    for (int c = tile_group(tiling); c < job.ins(); c += tiling.groups)
        shared.pointwise_in[c * tiling.lanes + lane] =
            q < tiling.quads && c < count
                ? pointwise_in_quad(from, mask, true, conv, c0, c, y, x, shared.padded, shared.taps)
                : make_float4(0, 0, 0, 0);
}

// Adds one image to the sums of channels c0 .. c0 + count - 1.
__forceinline__ void add_image(const CellView& cell, const GradView& g, const WgradJob& job, int image, int c0,
                               int count, const WgradShared& shared, WgradSums& sums) {
    const ConvJob& conv = job.conv;
    const Tiling& tiling = job.tiling;
    __syncthreads();
    if (conv.taps)
        load_opened(planes_from(cell, conv, image / cell.N, image % cell.N), conv.in,
                    cell.pattern_of(image) + conv.relu_mask, c0, count, conv.plane(), shared.padded);
    for (int q0 = 0; q0 < tiling.quads; q0 += tiling.lanes) {
        if (q0) __syncthreads();
        load_grad_z(cell, g, job, anew(image), q0, shared);
        if (conv.taps && q0 == 0) __syncthreads();
        load_pointwise_in(cell, job, anew(image), c0, count, q0, shared);
        __syncthreads();
        add_pointwise(job, shared, sums);
        if (conv.taps) add_depthwise(job, count, q0, shared, sums);
    }
}

// Every thread's first `count` sums into shared memory.
template <int N> __forceinline__ void spread_sums(const float (&sums)[N], int count, float* memory) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i < count) memory[i * SUM_STEP + threadIdx.x] = sums[i];
    __syncthreads();
}

// Sum i of an item, over its threads in their order.
__forceinline__ float over_threads(const float* memory, const Share& share, int item, int i) {
    float total = 0;
    for (int t = 0; t < share.threads; t++) total += memory[i * SUM_STEP + item * share.threads + t];
    return total;
}

// Writes them from the threads' sums.
__forceinline__ void store_sums(const WgradJob& job, int c0, int count, const WgradSums& sums, float* memory,
                                float* dw) {
    const ConvJob& conv = job.conv;
    spread_sums(sums.pointwise, SIDE * SIDE, memory);
    for (int i = threadIdx.x; i < conv.outs * conv.chunk; i += CELL_THREADS) {
        const int o = i / conv.chunk, c = i % conv.chunk;
        if (c >= count) continue;
        dw[conv.pointwise + (long long)o * conv.ins + c0 + c] = over_threads(
            memory, Share(job.pointwise_threads), o / SIDE * job.in_items + c / SIDE, o % SIDE * SIDE + c % SIDE);
    }
    if (!conv.taps) return;
    spread_sums(sums.depthwise, job.part_taps(), memory);
    for (int i = threadIdx.x; i < count * conv.taps; i += CELL_THREADS) {
        const int c = i / conv.taps, tap = i % conv.taps, part = conv.kernel == 7 ? tap / (ROWS_OF_7 * 7) : 0;
        dw[conv.depthwise + (long long)c0 * conv.taps + i] = over_threads(
            memory, Share(job.depthwise_threads), c * job.tap_parts() + part, tap - part * job.part_taps());
    }
}

// The gradients of a chunk of a job's weights, of channels from c0 on.
__forceinline__ void wgrad(const CellView& cell, const GradView& g, const WgradJob& job, const ImageGroup& images,
                           int c0, float* memory) {
    const ConvJob& conv = job.conv;
    const int count = conv.ins - c0 < conv.chunk ? conv.ins - c0 : conv.chunk, taps = conv.taps;
    const WgradShared shared(job, memory);
    const float* weights = cell.weights_of(images.v);
    const GradZPlanes grad_z(cell, g, job.grad_z, images.first);
    clear(shared.padded, conv.padded_floats());
    for (int o = threadIdx.x; o < conv.outs; o += CELL_THREADS) shared.factors[o] = grad_z.factors(cell, g, o);
    for (int i = threadIdx.x; i < count * taps; i += CELL_THREADS)
        shared.taps[i] = weights[conv.depthwise + c0 * taps + i];
    for (int i = threadIdx.x; i < count * conv.outs && taps; i += CELL_THREADS)
        shared.pointwise[i] = weights[conv.pointwise + i % conv.outs * conv.ins + c0 + i / conv.outs];
    WgradSums sums;
    for (int image = images.first; image < anew(images.end); image++)
        add_image(cell, g, job, image, c0, count, shared, sums);
    store_sums(job, c0, count, sums, memory, images.share);
}

// shares (V * groups, weights): of each group of images. The table is not __restrict__: the compiler would then hold more of the
// job in registers than there are, and spill.
KERNEL __launch_bounds__(CELL_THREADS, 2)
    wgrad_kernel(CellView cell, GradView g, const WgradJobs* table, Divisor groups, long long weights, float* shares) {
    SHARED_DYNAMIC(float, memory);
    const WgradJob& job = table->job[blockIdx.z];
    if ((int)blockIdx.x >= job.chunks()) return;
    const ImageGroup images(cell.N, groups, weights, shares);
    if (job.band)
        wgrad_tensor_core(cell, g, job, images, first_channel(job), memory);
    else
        wgrad(cell, g, job, images, first_channel(job), memory);
}

// sums (V, weights): of the groups.
KERNEL __launch_bounds__(CELL_THREADS)
    add_shares_kernel(int groups, long long weights, const float* shares, float* sums) {
    const long long i = (long long)blockIdx.x * CELL_THREADS + threadIdx.x;
    if (i >= weights) return;
    float total = 0;
    for (int group = 0; group < groups; group++)
        total += shares[((long long)blockIdx.y * groups + group) * weights + i];
    sums[blockIdx.y * weights + i] = total;
}

}  // namespace sgl_fast
