// Gradients of convolutions' weights: a block some images of a learner, a convolution and a chunk of its input channels. Each
// group of images has its own sums, added in one order afterwards. A tile of pixels at a time, in shared memory: what the
// result's norm passes back (grad z), what the 1x1 convolution read. A thread keeps the sums of SIDE_OUTS x SIDE_INS 1x1
// weights and of a channel's taps in registers until the block's images are done; those of different pixels are added then.
#include "wgrad_tensor_core.cuh"

namespace sgl_fast {

// A thread's sums over its quads of all images.
struct CoreSums {
    float pointwise[SIDES];  // (outs, ins)
    float depthwise[MOST_TAPS];

    CoreSums() {
#pragma unroll
        for (int i = 0; i < SIDES; i++) pointwise[i] = 0;
#pragma unroll
        for (int i = 0; i < MOST_TAPS; i++) depthwise[i] = 0;
    }
};

// Where things lie in shared memory: as WgradLayout says.
struct WgradShared {
    template <bool> using Sums = CoreSums;
    const WgradLayout& at;
    float* memory;

    float4* grad_z() const { return (float4*)(memory + at.grad_z); }
    float4* pointwise_in() const { return (float4*)(memory + at.pointwise_in); }
    BnFactors* factors() const { return (BnFactors*)(memory + at.factors); }
    float* padded() const { return memory + at.padded; }
    float* taps() const { return memory + at.taps; }
    float* pointwise() const { return memory + at.pointwise; }
};

// Items of which each has as many threads; the threads left over have an item past the last.
struct Share {
    int threads, item, mine;  // mine: which of the item's threads

    explicit Share(const PowerOfTwo& threads) : threads(threads), item(thread() / threads), mine(thread() % threads) {}
};

__forceinline__ void add_dot(float& sum, const float4& a, const float4& b) {
    sum += a.x * b.x;
    sum += a.y * b.y;
    sum += a.z * b.z;
    sum += a.w * b.w;
}

// sums[o][i] += the products of grad z and what the 1x1 convolution read, over the tile's pixels.
__forceinline__ void add_pointwise(const WgradJob& job, const WgradShared& shared, CoreSums& sums) {
    const Tiling& tiling = job.tiling;
    const Share share(job.pointwise_threads);
    if (share.item >= job.pointwise_items()) return;
    const float4* dz = shared.grad_z() + share.item / job.in_items * SIDE_OUTS * tiling.lanes;
    const float4* in = shared.pointwise_in() + share.item % job.in_items * SIDE_INS * tiling.lanes;
    for (int at = share.mine; at < tiling.lanes; at += share.threads) {
        float4 pointwise_in[SIDE_INS];
#pragma unroll
        for (int j = 0; j < SIDE_INS; j++) pointwise_in[j] = in[j * tiling.lanes + at];
#pragma unroll
        for (int i = 0; i < SIDE_OUTS; i++) {
            const float4 grad_z = dz[i * tiling.lanes + at];
#pragma unroll
            for (int j = 0; j < SIDE_INS; j++) add_dot(sums.pointwise[i * SIDE_INS + j], grad_z, pointwise_in[j]);
        }
    }
}

// sums[tap] += over the tile's pixels, the gradient of the depthwise result times what the tap reads.
template <int ROWS, int K, int D, int S>
__forceinline__ void add_depthwise(const WgradBlock& block, int q0, const WgradShared& shared, CoreSums& sums) {
    const WgradJob& job = block.job();
    const ConvJob& conv = job.conv;
    const Tiling& tiling = job.tiling;
    for (int at = Share(job.depthwise_threads).mine; at < tiling.lanes && q0 + at < tiling.quads;
         at += job.depthwise_threads) {
        forget();
        const int item = Share(job.depthwise_threads).item, c = ROWS < K ? job.channel_of(item) : item;
        if (c >= block.part().count) return;
        float4 dz = make_float4(0, 0, 0, 0);
#pragma unroll 1  // more at a time would spill
        for (int o = 0; o < conv.outs; o++)
            dz += shared.pointwise()[c * conv.outs + o] * shared.grad_z()[o * tiling.lanes + at];
        const PaddedPlane plane = conv.plane();
        const int y = job.rows.row(tiling.y(q0 + at)), x = tiling.x(q0 + at);
        tap_products<ROWS, K, D, S>(ROWS < K ? item - c * PARTS_OF_7 : 0, dz,
                                    shared.padded() + c * plane.floats + S * (y * plane.row + x), plane.row,
                                    sums.depthwise);
    }
}

template <int ROWS, int K>
__forceinline__ void add_depthwise(const WgradBlock& block, int q0, const WgradShared& shared, CoreSums& sums) {
    const ConvJob& conv = block.job().conv;
    if (conv.stride == 1 && conv.dilation == 1)
        add_depthwise<ROWS, K, 1, 1>(block, q0, shared, sums);
    else if (conv.stride == 1)
        add_depthwise<ROWS, K, 2, 1>(block, q0, shared, sums);
    else if (conv.dilation == 1)
        add_depthwise<ROWS, K, 1, 2>(block, q0, shared, sums);
    else
        add_depthwise<ROWS, K, 2, 2>(block, q0, shared, sums);
}

__forceinline__ void add_depthwise(const WgradBlock& block, int q0, const WgradShared& shared, CoreSums& sums) {
    const ConvJob& conv = block.job().conv;
    if (conv.kernel == 3)
        add_depthwise<3, 3>(block, q0, shared, sums);
    else if (conv.kernel == 5)
        add_depthwise<5, 5>(block, q0, shared, sums);
    else
        add_depthwise<ROWS_OF_7, 7>(block, q0, shared, sums);
}

// Grad z in a tile from q0 on, READS channels of a thread at a time.
__forceinline__ void load_grad_z(const WgradBlock& block, const WgradImage& image, int q0, const WgradShared& shared) {
    const WgradJob& job = block.job();
    const Tiling& tiling = job.tiling;
    const int lane = lane_of(tiling), q = q0 + lane;
    for (int o0 = group_of(tiling); o0 < job.outs(); o0 += READS * tiling.groups) {
        forget();
        const bool has = q < tiling.quads;
        float4 grad_z[READS];
        image.read_grad_z(shared.factors(), o0, tiling.groups, job.conv.outs - 1, job.rows.row(tiling.y(has ? q : 0)),
                          tiling.x(has ? q : 0), job.conv.out_W, grad_z);
#pragma unroll
        for (int i = 0; i < READS; i++) {
            const int o = o0 + i * tiling.groups;
            if (o < job.outs())
                shared.grad_z()[o * tiling.lanes + lane] =
                    has && o < job.conv.outs ? grad_z[i] : make_float4(0, 0, 0, 0);
        }
    }
}

// What the 1x1 convolution reads: channel c of the chunk, four outputs from (y, x).
template <bool TAPS>
__forceinline__ float4 pointwise_in_quad(const WgradBlock& block, const WgradImage& image, int c, int y, int x,
                                         const WgradShared& shared) {
    const ConvJob& conv = block.job().conv;
    if (!conv.taps) return image.pointwise_in(conv, block.part().c0 + c, y, x);
    const PaddedPlane plane = conv.plane();
    return window_quad(conv, shared.padded() + c * plane.floats + conv.stride * (y * plane.row + x), plane.row,
                       shared.taps() + c * conv.taps);
}

// What the 1x1 convolution reads, in a tile from q0 on.
template <bool TAPS>
__forceinline__ void load_pointwise_in(const WgradBlock& block, const WgradImage& image, int q0,
                                       const WgradShared& shared) {
    const WgradJob& job = block.job();
    const Tiling& tiling = job.tiling;
    const int lane = lane_of(tiling), q = q0 + lane, y = job.rows.row(tiling.y(q)), x = tiling.x(q);
    for (int c = group_of(tiling); c < job.ins(); c += tiling.groups) {
        forget();
        shared.pointwise_in()[c * tiling.lanes + lane] = q < tiling.quads && c < block.part().count
                                                             ? pointwise_in_quad<TAPS>(block, image, c, y, x, shared)
                                                             : make_float4(0, 0, 0, 0);
    }
}

// Adds one image to the sums.
template <bool TAPS>
__forceinline__ void add_image(const WgradBlock& block, const WgradImage& image, const WgradShared& shared,
                               CoreSums& sums) {
    const WgradJob& job = block.job();
    const ConvJob& conv = job.conv;
    const Tiling& tiling = job.tiling;
    if (conv.taps) load_opened(block, image, 0, conv.in_H, conv.plane(), shared.padded());
    for (int q0 = 0; q0 < tiling.quads; q0 += tiling.lanes) {
        if (q0) __syncthreads();
        load_grad_z(block, image, q0, shared);
        if (conv.taps && q0 == 0) __syncthreads();
        load_pointwise_in<TAPS>(block, image, q0, shared);
        __syncthreads();
        add_pointwise(job, shared, sums);
        if (conv.taps) add_depthwise(block, q0, shared, sums);
    }
}

// Every thread's first `count` sums into shared memory.
template <int N> __forceinline__ void spread_sums(const float (&sums)[N], int count, float* memory) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i < count) memory[i * SUM_STEP + thread()] = sums[i];
    __syncthreads();
}

// Sum i of an item, over its threads in their order.
__forceinline__ float over_threads(const float* memory, const Share& share, int item, int i) {
    float total = 0;
    for (int t = 0; t < share.threads; t++) total += memory[i * SUM_STEP + item * share.threads + t];
    return total;
}

// Writes them from the threads' sums.
template <bool TAPS>
__forceinline__ void store_sums(const WgradBlock& block, const CoreSums& sums, float* memory, float* dw) {
    const WgradJob& job = block.job();
    const ConvJob& conv = job.conv;
    const int c0 = block.part().c0, count = block.part().count;
    spread_sums(sums.pointwise, SIDES, memory);
    for (int i = thread(); i < conv.outs * conv.chunk; i += CELL_THREADS) {
        const int o = i / conv.chunk, c = i % conv.chunk;
        if (c >= count) continue;
        dw[conv.pointwise + (long long)o * conv.ins + c0 + c] =
            over_threads(memory, Share(job.pointwise_threads), o / SIDE_OUTS * job.in_items + c / SIDE_INS,
                         o % SIDE_OUTS * SIDE_INS + c % SIDE_INS);
    }
    if (!conv.taps) return;
    spread_sums(sums.depthwise, job.part_taps(), memory);
    for (int i = thread(); i < count * conv.taps; i += CELL_THREADS) {
        const int c = i / conv.taps, tap = i % conv.taps, part = conv.kernel == 7 ? tap / (ROWS_OF_7 * 7) : 0;
        dw[conv.depthwise + (long long)c0 * conv.taps + i] = over_threads(
            memory, Share(job.depthwise_threads), c * job.tap_parts() + part, tap - part * job.part_taps());
    }
}

// What all images of a block share.
__forceinline__ void load_weights(const CellView& cell, const GradView& g, const WgradBlock& block,
                                  const WgradShared& shared) {
    const ConvJob& conv = block.job().conv;
    const WgradPart& part = block.part();
    const float* weights = cell.weights_of(part.v);
    clear(shared.padded(), conv.padded_floats());
    for (int o = thread(); o < conv.outs; o += CELL_THREADS)
        shared.factors()[o] = block.image(part.first).grad_z.factors(cell, g, o);
    for (int i = thread(); i < part.count * conv.taps; i += CELL_THREADS)
        shared.taps()[i] = weights[conv.depthwise + part.c0 * conv.taps + i];
    for (int i = thread(); i < part.count * conv.outs && conv.taps; i += CELL_THREADS)
        shared.pointwise()[i] = weights[conv.pointwise + i % conv.outs * conv.ins + part.c0 + i / conv.outs];
}

// The gradients of a block's weights. TAPS: of a depthwise convolution, too.
template <bool TAPS, class Shared>
__forceinline__ void wgrad(const CellView& cell, const GradView& g, const WgradBlock& block, const Shared& shared,
                           long long weights, float* shares) {
    load_weights(cell, g, block, shared);
    typename Shared::template Sums<TAPS> sums;
    int image = block.part().first;
    do {
        block.next(cell, g, image);
        add_image<TAPS>(block, block.image(image), shared, sums);
    } while (++image < block.part().end);
    store_sums<TAPS>(block, sums, shared.memory, shares + anew(blockIdx.y) * weights);
}

// Blocks of a multiprocessor: as many as the compiler finds registers for without a stack.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr int WGRAD_BLOCKS = 2;
#else
constexpr int WGRAD_BLOCKS = 3;
#endif

// shares (V * groups, weights): of each group of images.
KERNEL __launch_bounds__(CELL_THREADS, WGRAD_BLOCKS)
    wgrad_kernel(CellView cell, GradView g, const WgradJobs* table, Divisor groups, long long weights, float* shares) {
    SHARED_DYNAMIC(float, memory);
    SHARED(float4, own, WgradBlock::QUADS);
    const WgradBlock block{own};
    const WgradShared shared{block.job().at, memory};
    const TensorCoreShared core{block.job(), memory};
    block.put_job(*table, cell.N, groups);
    __syncthreads();
    block.put_image(cell, g, block.part().first);
    __syncthreads();
    const int band = block.job().band, taps = block.job().conv.taps;
    if (band && taps)
        wgrad<true>(cell, g, block, core, weights, shares);
    else if (band)
        wgrad<false>(cell, g, block, core, weights, shares);
    else
        wgrad<true>(cell, g, block, shared, weights, shares);
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
