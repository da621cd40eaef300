// ReLU, depthwise convolution (or none), 1x1 convolution, statistics: a block an image and a group of jobs; pools in the
// same launch; neighbouring blocks read the same image. Planes are loaded once for all jobs, with a border of zeros, into
// shared memory. Depthwise results of some jobs and channels at a time pass through shared memory; then a thread has four
// pixels of R outputs in registers, and their statistics, too.
#include "convolve.cuh"
#include "depthwise.cuh"
#include "octets.cuh"
#include "pool.cuh"

namespace sgl_fast {

// What a block does, in shared memory: after a barrier it is read again rather than kept in registers.
struct ConvTable {
    JobGroup group;
    ConvJob job[GROUP_JOBS];
};

// A block, and where its things lie.
template <int R> struct ConvBlock {
    const CellView& cell;
    const ConvTable& table;
    float* shared;

    __forceinline__ const JobGroup& group() const { return table.group; }
    __forceinline__ const ConvLayout& at() const { return table.group.layout; }
    __forceinline__ const ConvJob& job(int number) const { return table.job[number]; }
    __forceinline__ int image() const { return blockIdx.y; }
    __forceinline__ int lane() const { return tile_lane(at().tiling); }
    __forceinline__ float4* hidden() const { return (float4*)(shared + at().hidden); }
    __forceinline__ float* taps(int number) const { return shared + at().taps + number * job(0).chunk * group().taps; }
    __forceinline__ float* pointwise(int number) const {
        return shared + at().pointwise + number * at().slices * R * job(0).chunk;
    }
    __forceinline__ Moments* moments() const { return (Moments*)(shared + at().moments); }
    __forceinline__ float* planes(int number) const { return shared + number * at().planes; }
};

__forceinline__ void copy_table(const ConvJobs& jobs, ConvTable& to) {
    constexpr int GROUP = sizeof(JobGroup) / sizeof(int), JOB = sizeof(ConvJob) / sizeof(int);
    const JobGroup& group = jobs.group[blockIdx.x];
    for (int i = threadIdx.x; i < GROUP + group.count * JOB; i += CELL_THREADS) {
        if (i < GROUP)
            ((int*)&to.group)[i] = ((const int*)&group)[i];
        else
            ((int*)to.job)[i - GROUP] = ((const int*)(jobs.job + group.first))[i - GROUP];
    }
    __syncthreads();
}

// How a block's threads share `jobs` jobs, at most GROUP_JOBS.
struct JobThreads {
    PowerOfTwo threads;
    int job, mine;

    explicit JobThreads(int jobs) {
        const int halves = jobs > 2 ? 2 : jobs - 1;
        threads = PowerOfTwo(CELL_THREADS >> halves, 8 - halves);
        job = (int)threadIdx.x / threads;
        mine = (int)threadIdx.x % threads;
    }
};

// All jobs' weights of channels c0 .. c0 + count - 1, into shared memory.
template <int R> __forceinline__ void load_weights(const ConvBlock<R>& block, int c0, int count) {
    constexpr int N = 4;
    const JobThreads share(block.group().count);
    if (share.job >= block.group().count) return;
    const ConvJob& job = block.job(share.job);
    const float* weights = global(block.cell.weights_of(block.image() / block.cell.N));
    const int taps = count * job.taps, all = taps + job.chunk * job.outs;
    float *to_taps = block.taps(share.job), *to_pointwise = block.pointwise(share.job);
    for (int first = share.mine; first < all; first += N * share.threads) {
        float w[N];
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int i = first + k * share.threads, p = i < taps ? 0 : i - taps, out = p / job.chunk,
                      c = p - out * job.chunk;
            const int from = i < taps ? job.depthwise + c0 * job.taps + i : job.pointwise + out * job.ins + c0 + c;
            w[k] = weights[i < all && c < count ? from : job.pointwise];
        }
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int i = first + k * share.threads;
            if (i < taps)
                to_taps[i] = w[k];
            else if (i < all)
                to_pointwise[i - taps] = w[k];
        }
    }
}

// Channels c0 .. c0 + count - 1 of what the jobs read, and their weights. fresh: for the first time; there is no border yet.
template <int R> __forceinline__ void load_chunk(const ConvBlock<R>& block, int c0, int count, bool fresh) {
    constexpr int N = 1;
    const CellView& cell = block.cell;
    const JobThreads share(block.at().planes ? block.group().count : 1);
    const ConvJob& job = block.job(share.job < block.group().count ? share.job : 0);
    const Planes from = planes_from(cell, job, block.image() / block.cell.N, block.image() % cell.N);
    unsigned char* pattern = cell.pattern_of(block.image()) + job.relu_mask;
    const int octets = share.job < block.group().count && job.kernel > 1 ? count * from.H * job.octets.in_row : 0;
    const PaddedPlane plane = job.plane();
    Octets<N> in;
    if (share.mine < octets)
        in.read(from, job.octets, c0, count, plane, share.mine, share.threads, cell.replay ? pattern : nullptr);
    if (fresh) clear(block.shared, block.at().hidden);
    load_weights(block, c0, count);
    if (fresh) __syncthreads();
    for (int first = share.mine; first < octets;) {
        in.template write<true>(cell.replay, job.record && !cell.replay ? pattern : nullptr, block.planes(share.job));
        first += N * share.threads;
        if (first < octets)
            in.read(from, job.octets, c0, count, plane, first, share.threads, cell.replay ? pattern : nullptr);
    }
}

// What 1x1 convolutions alone read, of channels c .. c + count - 1 in a job's tile of `quads` quads from row y0 on.
template <int R>
__forceinline__ void strided_rows(const ConvBlock<R>& block, const ConvJob& job, int c, int count, int y0, int quads,
                                  int threads, int mine, float4* to) {
    const CellView& cell = block.cell;
    const Planes from = planes_from(cell, job, block.image() / block.cell.N, block.image() % cell.N);
    const unsigned char* pattern = cell.pattern_of(block.image()) + job.relu_mask;
    const Tiling& tiling = block.at().tiling;
    for (int i = mine; i < count * tiling.lanes; i += threads) {
        const int q = i % tiling.lanes, y = y0 + tiling.y(q), x = tiling.x(q);
        if (q < quads) to[i] = strided_quad(from, pattern, cell.replay, job, c + i / tiling.lanes, y, x);
    }
}

// What the 1x1 convolutions of a batch of jobs from number `first` on read: channels c0 + s0 .. c0 + s0 + count - 1.
template <int R>
__forceinline__ void fill_hidden(const ConvBlock<R>& block, int first, int c0, int s0, int count, int y0, int rows) {
    const int left = block.group().count - first, jobs = left < block.at().batch ? left : block.at().batch;
    const JobThreads share(jobs);
    if (share.job >= jobs) return;
    const int number = first + share.job;
    const ConvJob& job = block.job(number);
    float4* to = block.hidden() + share.job * block.at().step * block.at().tiling.lanes;
    if (job.kernel == 1)
        strided_rows(block, job, c0 + s0, count, y0, rows * block.at().tiling.quads_in_row, share.threads, share.mine,
                     to);
    else
        depthwise_rows<strip_of(R)>(job, block.at(), block.planes(number) + s0 * job.plane().floats,
                                    block.taps(number) + s0 * job.taps, count, y0, rows, share.threads, share.mine, to);
}

// sums[r] += the products of R outputs' weights, rows of `chunk` floats, with `count` channels.
template <int R>
__forceinline__ void add_products(const float4* hidden, int lanes, const float* weights, int chunk, int count,
                                  float4 (&sums)[R]) {
    if (chunk % 4 == 0 && count % 4 == 0) {
        for (int c = 0; c < count; c += 4) {
            const float4 a = hidden[0], b = hidden[lanes], e = hidden[2 * lanes], f = hidden[3 * lanes];
#pragma unroll
            for (int r = 0; r < R; r++) {
                const float4 w = *(const float4*)(weights + r * chunk + c);
                sums[r] += w.x * a;
                sums[r] += w.y * b;
                sums[r] += w.z * e;
                sums[r] += w.w * f;
            }
            hidden += 4 * lanes;
        }
        return;
    }
    for (int c = 0; c < count; c++) {
        const float4 four = hidden[c * lanes];
#pragma unroll
        for (int r = 0; r < R; r++) sums[r] += weights[r * chunk + c] * four;
    }
}

// What a thread has of a batch of jobs: R outputs of one of them.
template <int R> struct ConvOuts {
    int job, slice;  // job: of the batch
    bool has;

    __forceinline__ ConvOuts(const ConvBlock<R>& block, int first, int pass) {
        const int slot = pass * block.at().tiling.groups + tile_group(block.at().tiling);
        job = block.at().batch > 1 ? slot / block.at().slices : 0;
        slice = slot - job * block.at().slices;
        has = job < block.at().batch && first + job < block.group().count && slice < block.at().slices;
        if (!has) job = slice = 0;
    }
};

// R outputs of each thread in a tile: written, and their moments added to those of the tiles before.
template <int R>
__forceinline__ void finish_tile(const ConvBlock<R>& block, int first, int pass, int y0, int rows, float4 (&sums)[R]) {
    const ConvLayout& at = block.at();
    const ConvOuts<R> outs(block, first, pass);
    const ConvJob& job = block.job(first + outs.job);
    const int q = block.lane(), y = y0 + at.tiling.y(q), x = at.tiling.x(q), left = job.out_W - x;
    const PowerOfTwo span = at.tiling.span();
    const bool has = outs.has && q < rows * at.tiling.quads_in_row;
    const StoragePtr z = result_at(block.cell, job, block.image());
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int out = outs.slice * R + r;
        if (has && out < job.outs) write_quad(z + ((long long)out * job.out_H + y) * job.out_W, x, job.out_W, sums[r]);
        sums[r] = has ? within(as_saved(z, sums[r]), x, job.out_W) : make_float4(0, 0, 0, 0);
    }
    if (!block.cell.training) return;
    Moments tile = moments_of(sums, !has ? 0 : left < 4 ? left : 4, span);
    Moments& all =
        block.moments()[(((first + outs.job) * at.slices + outs.slice) * R + lane_number<R>()) * at.parts + q / span];
    if (!outs.has || q % span >= R) return;
    if (y0) merge(tile, all);
    all = tile;
}

// The norms of a group's jobs, from the moments of their planes' parts.
template <int R> __forceinline__ void finish_group(const ConvBlock<R>& block) {
    const CellView& cell = block.cell;
    const Divisor outs = block.job(0).outs;
    const int count = block.group().count * outs, parts = block.at().parts;
    const auto norm_of = [&](int i) { return block.job(i / outs).norm + i % outs; };
    for (int i = threadIdx.x; i < count; i += CELL_THREADS) {
        const Moments* of = block.moments() + (i / outs * block.at().slices * R + i % outs) * parts;
        Moments all = of[0];
        for (int k = 1; k < parts; k++) merge(all, of[k]);
        const long long norm = (long long)block.image() * cell.norms + norm_of(i);
        cell.partial_mean[norm] = all.mean;
        cell.partial_deviations[norm] = all.deviations;
    }
    if (is_last_block(cell.arrivals + block.image() / block.cell.N * cell.norms + block.job(0).norm, cell.N))
        finish_norms(cell, block.image() / block.cell.N, count, block.job(0).out_H * block.job(0).out_W, norm_of);
}

template <int R> __forceinline__ void convolve(const ConvBlock<R>& block) {
    const ConvLayout& at = block.at();
    const ConvJob& one = block.job(0);
    int loaded = -1;  // the chunk in shared memory
    for (int first = 0; first < block.group().count; first += at.batch)
        for (int pass = 0; pass == 0 || pass * at.tiling.groups < at.slices; pass++) {
            for (int y0 = 0; y0 < one.out_H; y0 += at.rows) {
                const int rows = one.out_H - y0 < at.rows ? one.out_H - y0 : at.rows;
                float4 sums[R];
#pragma unroll
                for (int r = 0; r < R; r++) sums[r] = make_float4(0, 0, 0, 0);
                for (int c0 = 0; c0 < one.ins; c0 += one.chunk) {
                    const int chunk = one.ins - c0 < one.chunk ? one.ins - c0 : one.chunk;
                    __syncthreads();
                    if (loaded != c0) {
                        load_chunk(block, c0, chunk, loaded < 0);
                        __syncthreads();
                    }
                    loaded = c0;
                    for (int s0 = 0; s0 < chunk; s0 += at.step) {
                        const int count = chunk - s0 < at.step ? chunk - s0 : at.step;
                        if (s0) __syncthreads();
                        fill_hidden(block, first, c0, s0, count, y0, rows);
                        __syncthreads();
                        const ConvOuts<R> outs(block, first, pass);
                        add_products(block.hidden() + outs.job * at.step * at.tiling.lanes + block.lane(),
                                     at.tiling.lanes,
                                     block.pointwise(first + outs.job) + outs.slice * R * one.chunk + s0, one.chunk,
                                     count, sums);
                    }
                }
                finish_tile(block, first, pass, y0, rows, sums);
            }
        }
}

template <int R> __forceinline__ void convolve_block(const CellView& cell, const ConvJobs& jobs) {
    SHARED_DYNAMIC(float, shared);
    SHARED(ConvTable, table, 1);
    if ((int)blockIdx.x >= jobs.groups)
        return pool(cell, jobs.pools.job[blockIdx.x - jobs.groups], blockIdx.y, jobs.room, shared);
    copy_table(jobs, table[0]);
    const ConvBlock<R> block{cell, table[0], shared};
    for (int j = 0; j < block.group().count; j++) {
        const ConvJob& job = block.job(j);
        if (job.kernel > 1 || !job.record || cell.replay) continue;
        record_mask(planes_from(cell, job, block.image() / cell.N, block.image() % cell.N), job.ins, job.octets,
                    cell.pattern_of(block.image()) + job.relu_mask);
    }
    convolve(block);
    if (!cell.training) return;
    __syncthreads();
    finish_group(block);
}

KERNEL __launch_bounds__(CELL_THREADS, 2) convolve_kernel_4(CellView cell, const ConvJobs* __restrict__ jobs) {
    convolve_block<4>(cell, *jobs);
}
KERNEL __launch_bounds__(CELL_THREADS, 2) convolve_kernel_8(CellView cell, const ConvJobs* __restrict__ jobs) {
    convolve_block<8>(cell, *jobs);
}

}  // namespace sgl_fast
