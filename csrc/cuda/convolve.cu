// ReLU, depthwise convolution (or none), 1x1 convolution, statistics: a block an image and a group of jobs; pools in the
// same launch; neighbouring blocks read the same image. Planes are loaded once for all jobs, with a border of zeros, into
// shared memory. Depthwise results of some jobs and channels at a time pass through shared memory; then a thread has four
// pixels of R outputs in registers, and their statistics, too.
#include "conv_block.cuh"
#include "depthwise.cuh"
#include "pool.cuh"

namespace sgl_fast {

// A thread's place in a batch of jobs from number `first` on.
template <int R> struct BatchThread : JobThreads {
    int number;  // of its job; -1: none

    __forceinline__ BatchThread(const ConvBlock<R>& block, int first) : JobThreads(jobs_of(block, first)) {
        number = job < jobs_of(block, first) ? first + job : -1;
    }
    static __forceinline__ int jobs_of(const ConvBlock<R>& block, int first) {
        const int left = block.group().count - first;
        return left < block.at().batch ? left : block.at().batch;
    }
};

// sums[r] += the products of R outputs' weights, next to each other, with `count` channels.
template <int R>
__forceinline__ void add_products(const float4* hidden, int lanes, const float* weights, int count, float4 (&sums)[R]) {
#pragma unroll(R == 4 ? 2 : 1)
    for (int c = 0; c < count; c++, hidden += lanes, weights += R) {
        const float4 four = *hidden;
        float w[R];
        read_fours(weights, w);
#pragma unroll
        for (int r = 0; r < R; r++) sums[r] += w[r] * four;
    }
}

// What a thread has of a batch of jobs: R outputs of one of them.
template <int R> struct ConvOuts {
    int job, slice;  // job: of the batch
    bool has;

    __forceinline__ ConvOuts(const ConvBlock<R>& block, int first, int pass, int group) {
        const int slot = pass * block.at().tiling.groups + group;
        job = block.at().batch > 1 ? slot / block.at().slices : 0;
        slice = slot - job * block.at().slices;
        has = job < block.at().batch && first + job < block.group().count && slice < block.at().slices;
        if (!has) job = slice = 0;
    }
};

// sums += the products of a part of a step.
template <int R>
__forceinline__ void add_part(const ConvBlock<R>& block, int first, int pass, int c0, int s0, int part,
                              float4 (&sums)[R]) {
    const ConvLayout& at = block.at();
    const int left = block.step(c0, s0) - part, count = left < at.part ? left : at.part;
    const ConvOuts<R> outs(block, first, pass, tile_group(at.tiling));
    add_products(block.hidden() + outs.job * at.part * at.tiling.lanes + block.lane(), at.tiling.lanes,
                 block.pointwise(first + outs.job) + (outs.slice * block.job(0).chunk + s0 + part) * R, count, sums);
}

// A step of a batch of jobs from number `first` on: depthwise convolutions of channels s0 .. s0 + step - 1 of those in
// shared memory, a strip a thread, and their products.
template <int R>
__forceinline__ void depthwise_step(const ConvBlock<R>& block, int first, int pass, int c0, int s0, int y0,
                                    float4 (&sums)[R]) {
    const ConvLayout& at = block.at();
    Strip<strip_of(R)> strip;
    const auto place = [&] {
        const BatchThread<R> thread(block, first);
        const int number = thread.number < 0 ? first : thread.number;
        strip.place(block.job(number), at, thread.number < 0 ? 0 : block.step(c0, s0), y0, block.rows(y0), thread.mine,
                    thread.job * at.part * at.tiling.lanes);
        return number;
    };
    {
        const int number = place();
        const ConvJob& job = block.job(number);
        strip.convolve(job, at, block.planes(number) + s0 * at.plane.next(), block.taps(number) + s0 * job.taps);
    }
    place();  // found again rather than kept in registers
    for (int part = 0; part < block.step(c0, s0); part += at.part) {
        if (s0 + part) __syncthreads();
        const int left = block.step(c0, s0) - part, count = left < at.part ? left : at.part;
        strip.write(part, count, at.tiling.lanes, block.hidden());
        __syncthreads();
        add_part(block, first, pass, c0, s0, part, sums);
    }
}

// The same of channels c0 + s0 .. c0 + s0 + step - 1 of jobs that are 1x1 convolutions alone, a quad a thread at a time.
template <int R>
__forceinline__ void pointwise_step(const ConvBlock<R>& block, int first, int pass, int c0, int s0, int y0,
                                    float4 (&sums)[R]) {
    const CellView& cell = block.cell;
    const ConvLayout& at = block.at();
    for (int part = 0; part < block.step(c0, s0); part += at.part) {
        if (s0 + part) __syncthreads();
        const int left = block.step(c0, s0) - part, count = left < at.part ? left : at.part;
        const BatchThread<R> thread(block, first);
#pragma unroll 1
        for (int i = thread.mine; i < (thread.number < 0 ? 0 : count * at.tiling.lanes); i += thread.threads) {
            const ConvJob& job = block.job(thread.number);
            const int q = i % at.tiling.lanes, image = block.image();
            if (q >= block.rows(y0) * at.tiling.quads_in_row) continue;
            block.hidden()[thread.job * at.part * at.tiling.lanes + i] = strided_quad(
                planes_from(cell, job, image / cell.N, image % cell.N), cell.pattern_of(image) + job.relu_mask,
                cell.replay, job, c0 + s0 + part + i / at.tiling.lanes, y0 + at.tiling.y(q), at.tiling.x(q));
        }
        __syncthreads();
        add_part(block, first, pass, c0, s0, part, sums);
    }
}

// R outputs of each thread in a tile: written, and their moments added to those of the tiles before.
template <int R>
__forceinline__ void finish_tile(const ConvBlock<R>& block, int first, int pass, int y0, float4 (&sums)[R]) {
    const ConvLayout& at = block.at();
    const ConvOuts<R> outs(block, first, pass, tile_group(at.tiling));
    const ConvJob& job = block.job(first + outs.job);
    const int q = block.lane(), y = y0 + at.tiling.y(q), x = at.tiling.x(q), left = job.out_W - x, W = job.out_W;
    const PowerOfTwo span = at.tiling.span();
    const bool has = outs.has && q < block.rows(y0) * at.tiling.quads_in_row;
    const int pixels = !has ? 0 : left < 4 ? left : 4, out = outs.slice * R;
    write_quads(block.cell.saved_of(block.image()), job.z + (out * job.out_H + y) * W + x, job.out_H * W,
                has ? job.outs - out : 0, pixels, W % 4 == 0, sums);
    if (!block.cell.training) return;
    Moments tile = moments_of(sums, pixels, span);
    if (!outs.has || q % span >= R) return;
    Moments& all = block.moments(tile_group(at.tiling), lane_number<R>())[q / span];
    if (y0) merge(tile, all);
    all = tile;
}

// An image's statistics of a pass's outputs, from the moments of their planes' parts.
template <int R> __forceinline__ void finish_pass(const ConvBlock<R>& block, int first, int pass) {
    const CellView& cell = block.cell;
    const int group = threadIdx.x / R, r = threadIdx.x % R;
    if (group >= block.at().tiling.groups) return;
    const ConvOuts<R> outs(block, first, pass, group);
    const ConvJob& job = block.job(first + outs.job);
    const int out = outs.slice * R + r;
    if (!outs.has || out >= job.outs) return;
    const Moments all = merged(block.moments(group, r), block.at().parts);
    const long long norm = (long long)block.image() * cell.norms + job.norm + out;
    cell.partial_mean[norm] = all.mean;
    cell.partial_deviations[norm] = all.deviations;
}

// The norms of a group's jobs.
template <int R> __forceinline__ void finish_group(const ConvBlock<R>& block) {
    const CellView& cell = block.cell;
    const Divisor outs = block.job(0).outs;
    const int count = block.group().count * outs;
    const auto norm_of = [&](int i) { return block.job(i / outs).norm + i % outs; };
    if (is_last_block(cell.arrivals + block.image() / block.cell.N * cell.norms + block.job(0).norm, cell.N))
        finish_norms(cell, block.image() / block.cell.N, count, block.job(0).out_H * block.job(0).out_W, norm_of);
}

template <int R> __forceinline__ void convolve(const ConvBlock<R>& block) {
    const ConvLayout& at = block.at();
    const ConvJob& one = block.job(0);
    for (int first = 0; first < block.group().count; first += at.batch)
        for (int pass = 0; pass == 0 || pass * at.tiling.groups < at.slices; pass++) {
            for (int y0 = 0; y0 < one.out_H; y0 += at.rows) {
                float4 sums[R];
#pragma unroll
                for (int r = 0; r < R; r++) sums[r] = make_float4(0, 0, 0, 0);
                for (int c0 = 0; c0 < one.ins; c0 += one.chunk) {
                    const bool fresh = !(first | pass | y0 | c0);
                    if (y0 | c0) __syncthreads();
                    if (fresh || one.chunk < one.ins) {
                        load_chunk(block, c0, fresh);
                        __syncthreads();
                    }
                    for (int s0 = 0; s0 < block.chunk(c0); s0 += at.step) {
                        if (one.kernel > 1)
                            depthwise_step(block, first, pass, c0, s0, y0, sums);
                        else
                            pointwise_step(block, first, pass, c0, s0, y0, sums);
                    }
                }
                finish_tile(block, first, pass, y0, sums);
            }
            __syncthreads();
            if (block.cell.training) finish_pass(block, first, pass);
        }
}

template <int R> __forceinline__ void convolve_block(const CellView& cell, const ConvJobs& jobs) {
    SHARED_DYNAMIC(float, shared);
    SHARED(ConvTable, table, 1);
    if ((int)blockIdx.x >= jobs.groups) return pool(cell, jobs, *(PoolJob*)table, shared);
    copy_table(jobs, table[0]);
    const ConvBlock<R> block{cell, table[0], shared};
    for (int j = 0; j < block.group().count; j++) {
        const ConvJob& job = block.job(j);
        if (job.kernel > 1 || !job.record || cell.replay) continue;
        record_mask(planes_from(cell, job, block.image() / cell.N, block.image() % cell.N), job.ins, job.octets,
                    cell.pattern_of(block.image()) + job.relu_mask);
    }
    convolve(block);
    if (cell.training) finish_group(block);
}

KERNEL __launch_bounds__(CELL_THREADS, 3) convolve_kernel_4(CellView cell, const ConvJobs* __restrict__ jobs) {
    convolve_block<4>(cell, *jobs);
}
KERNEL __launch_bounds__(CELL_THREADS, 2) convolve_kernel_8(CellView cell, const ConvJobs* __restrict__ jobs) {
    convolve_block<8>(cell, *jobs);
}

}  // namespace sgl_fast
