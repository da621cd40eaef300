// A block of the forward's convolutions: what it does, where its things lie in shared memory, and how planes and weights come
// there.
#pragma once

#include "convolve.cuh"
#include "octets.cuh"

namespace sgl_fast {

// What a block does, in shared memory: after a barrier it is read again rather than kept in registers.
struct ConvTable {
    JobGroup group;
    ConvJob job[GROUP_JOBS];
};

static_assert(sizeof(PoolJob) <= sizeof(ConvTable), "a pool's job lies in the same place");

// A block, and where its things lie.
template <int R> struct ConvBlock {
    const CellView& cell;
    const ConvTable& table;
    float* shared;

    __forceinline__ const JobGroup& group() const { return table.group; }
    __forceinline__ const ConvLayout& at() const { return table.group.layout; }
    __forceinline__ const ConvJob& job(int number) const { return table.job[number]; }
    __forceinline__ int image() const { return anew((int)blockIdx.y); }
    __forceinline__ int lane() const { return tile_lane(at().tiling); }
    __forceinline__ float4* hidden() const { return (float4*)(shared + at().hidden); }
    __forceinline__ float* taps(int number) const { return shared + at().taps + job(number).first_tap * job(0).chunk; }
    __forceinline__ float* pointwise(int number) const {
        return shared + at().pointwise + number * at().slices * R * job(0).chunk;
    }
    // Of each output of a pass's, of its parts.
    __forceinline__ Moments* moments(int group, int out) const {
        return (Moments*)(shared + at().moments) + (group * R + out) * at().parts;
    }
    __forceinline__ float* planes(int number) const { return shared + number * at().planes; }
    // Of a tile from row y0 on; channels from c0 on at a time, and of those from number s0 on.
    __forceinline__ int rows(int y0) const { return job(0).out_H - y0 < at().rows ? job(0).out_H - y0 : at().rows; }
    __forceinline__ int chunk(int c0) const { return job(0).ins - c0 < job(0).chunk ? job(0).ins - c0 : job(0).chunk; }
    __forceinline__ int step(int c0, int s0) const { return chunk(c0) - s0 < at().step ? chunk(c0) - s0 : at().step; }
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

// How a block's threads share some jobs.
struct JobThreads {
    PowerOfTwo threads;
    int job, mine;

    explicit JobThreads(int jobs) : threads(threads_of_job(jobs)) {
        const int thread = anew((int)threadIdx.x);
        job = thread / threads;
        mine = thread % threads;
    }
};

// Weights of channels c0 .. c0 + count - 1 of a thread's job, on their way to shared memory: N of them at a time.
template <int R> struct Weights {
    static constexpr int N = 4;
    float w[N];

    // Threads without a job read, too: what only some of them define is kept in registers for all of the kernel.
    __forceinline__ void read(const ConvBlock<R>& block, int c0, int count, int round) {
        const JobThreads share(block.group().count);
        const ConvJob& job = block.job(share.job < block.group().count ? share.job : 0);
        const float* weights = global(block.cell.weights_of(block.image() / block.cell.N));
        const int taps = count * job.taps, all = taps + job.chunk * job.outs;
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int i = share.mine + (round * N + k) * share.threads, p = i < taps ? 0 : i - taps,
                      out = p / job.chunk, c = p - out * job.chunk;
            const int from = i < taps ? job.depthwise + c0 * job.taps + i : job.pointwise + out * job.ins + c0 + c;
            w[k] = weights[i < all && c < count ? from : job.pointwise];
        }
    }
    // Whether there are more.
    __forceinline__ bool write(const ConvBlock<R>& block, int count, int round) const {
        const JobThreads share(block.group().count);
        if (share.job >= block.group().count) return false;
        const ConvJob& job = block.job(share.job);
        const int taps = count * job.taps, all = taps + job.chunk * job.outs;
        float *to_taps = block.taps(share.job), *to_pointwise = block.pointwise(share.job);
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int i = share.mine + (round * N + k) * share.threads, p = i - taps, out = p / job.chunk;
            if (i < taps)
                to_taps[i] = w[k];
            else if (i < all)
                to_pointwise[(out / R * job.chunk + p - out * job.chunk) * R + out % R] = w[k];
        }
        return share.mine + (round + 1) * N * share.threads < all;
    }
};

// Channels c0 .. c0 + count - 1 of what the jobs read. fresh: for the first time; there is no border yet.
template <int R> __forceinline__ void load_planes(const ConvBlock<R>& block, int c0, int count, bool fresh) {
    const CellView& cell = block.cell;
    if (block.job(0).kernel == 1) return;
    // Found anew for each octet: sums have most registers.
    const auto share = [&] { return JobThreads(block.at().planes ? block.group().count : 1); };
    const auto job_of = [&](int job) -> const ConvJob& { return block.job(job < block.group().count ? job : 0); };
    const auto pattern = [&](const ConvJob& job) { return cell.pattern_of(block.image()) + job.relu_mask; };
    const auto octets = [&] {
        return share().job < block.group().count ? count * block.job(0).in_H * block.job(0).octets.in_row : 0;
    };
    Octet in;
    const auto read = [&](int number) {
        const int image = block.image();
        const ConvJob& job = job_of(share().job);
        in.read(planes_from(cell, job, image / cell.N, image % cell.N), job.octets, c0, count, number,
                cell.replay ? pattern(job) : nullptr);
    };
    read(share().mine);  // or the last one
    if (fresh) {
        clear(block.shared, block.at().hidden, anew((int)threadIdx.x));
        __syncthreads();
    }
    while (in.number < octets()) {
        const ConvJob& job = job_of(share().job);
        in.write<true>(job.octets, job.in_H, job.in_W, c0, block.at().plane, cell.replay,
                       job.record && !cell.replay ? pattern(job) : nullptr, block.planes(share().job));
        in.number += share().threads;
        if (in.number < octets()) read(in.number);
    }
}

// The same, and weights.
template <int R> __forceinline__ void load_chunk(const ConvBlock<R>& block, int c0, bool fresh) {
    const int count = block.chunk(c0);
    Weights<R> weights;
    weights.read(block, c0, count, 0);
    load_planes(block, c0, count, fresh);
    for (int round = 0; weights.write(block, count, round); round++) weights.read(block, c0, count, round + 1);
}

}  // namespace sgl_fast
