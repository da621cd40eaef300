// Gradients in the inputs of convolutions and pools: a block an image, a target and some of its channels; those that go
// through convolutions take the longest and come first. Every job's 1x1 convolution is undone into planes with a border in
// shared memory, from which each thread gathers what four neighbouring pixels of R channels receive. While it computes, what
// comes next is on its way to its registers.
#include "depthwise_dgrad.cuh"
#include "finish_part.cuh"
#include "pool_skip_dgrad.cuh"

namespace sgl_fast {

// Of a step, some quads from q0 on and outputs from o0 on, in registers: grad z of R outputs of a quad, and the weight whose
// place is the thread's.
template <int R> struct Incoming {
    float4 dy[R], z[R];
    float weight;
};

// Weight i of a step: of an output and a channel, 0 where the target or the job has none.
__forceinline__ float dgrad_weight(const DgradPart& part, const DgradConv& conv, int o0, int i) {
    const PowerOfTwo& channels = part.at().channels;
    const int o = o0 + i / channels, c = part.c0() + i % channels, ins = part.target().channels;
    const bool has = o < conv.outs && c < ins && i < part.at().steps * channels;
    return has ? part.all_weights()[conv.pointwise + o * ins + c] : 0;
}

template <int R>
__forceinline__ void bring(const DgradPart& part, const BlockJob& job, int q0, int o0, Incoming<R>& to) {
    const Tiling& out = part.tiling();
    const QuadPlace at = part.place(q0);
    job.grad_z.read(o0 + tile_group(out), out.groups, job.conv.outs - 1, at.y, at.x, part.target().out_W, to.dy, to.z);
    to.weight = dgrad_weight(part, job.conv, o0, threadIdx.x);
}

// What a step of a job, number i of its batch, brought, into shared memory.
template <int R>
__forceinline__ void put_step(const DgradPart& part, const DgradConv& conv, int i, int q0, int o0,
                              const Incoming<R>& from) {
    const Tiling& out = part.tiling();
    const int count = part.at().steps * part.at().channels, W = part.target().out_W;
    float4* to = part.grad_z() + threadIdx.x;  // lanes follow each other, then groups
#pragma unroll
    for (int k = 0; k < R; k++, to += CELL_THREADS) {
        const int mine = o0 + tile_group(out) + k * out.groups, o = mine < conv.outs ? mine : conv.outs - 1;
        const float4 four = GradZPlanes::quad(part.factors(i)[o], from.dy[k], from.z[k]);
        *to = W % 4 == 0 ? four : within(four, part.place(q0).x, W);
    }
    if ((int)threadIdx.x < count) part.weights()[threadIdx.x] = from.weight;
    for (int k = threadIdx.x + CELL_THREADS; k < count; k += CELL_THREADS)
        part.weights()[k] = dgrad_weight(part, conv, o0, k);
}

// The pattern of the ReLU before a target, if it has one, of this thread's channels: on its way while the thread goes on.
template <int R> __forceinline__ void read_patterns(const DgradPart& part, unsigned char (&bytes)[R]) {
    const Target& target = part.target();
    const QuadPlace at = part.in.unpacked();
    const unsigned char* mask = part.cell.pattern_of(part.image()) + target.relu_mask;
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int c = part.channel<R>() + r, from = c < target.channels ? c : target.channels - 1;
        bytes[r] = target.relu_mask < 0 ? 0 : mask_byte(mask, from, target.H, target.W, at.y, at.x);
    }
}

// sums[r], where the ReLU is open.
template <int R> __forceinline__ void mask(const DgradPart& part, const unsigned char (&bytes)[R], float4 (&sums)[R]) {
    const int x = part.in.unpacked().x;
#pragma unroll
    for (int r = 0; r < R; r++)
        sums[r] = masked(sums[r], part.channel<R>() + r < part.target().channels ? bits_of(bytes[r], x) : 0);
}

__forceinline__ void put_jobs(const DgradPart& part) {
    static_assert(sizeof(BlockJob) == BLOCK_JOB_FLOATS * sizeof(float), "shared memory has room for them");
    for (int j = threadIdx.x; j < part.target().jobs; j += CELL_THREADS) {
        const DgradJob& job = part.jobs.job[part.target().first_job + j];
        part.job(j) = {GradZPlanes(part.cell, part.g, job.grad_z, part.image()), job.conv};
    }
}

// Factors and taps of a batch of jobs from number `first` on.
__forceinline__ void put_batch(const DgradPart& part, int first) {
    constexpr int N = 4;
    const PowerOfTwo& threads = part.at().threads;
    const int ins = part.target().channels - part.c0(), channels = ins < part.at().channels ? ins : part.at().channels,
              i = (int)threadIdx.x / threads, mine = (int)threadIdx.x % threads;
    if (i >= part.at().batch || first + i >= part.target().jobs) return;
    const BlockJob& job = part.job(first + i);
    const int taps = job.conv.kernel * job.conv.kernel, count = taps == 1 ? 0 : channels * taps;
    const float* from = part.all_weights() + job.conv.depthwise + (long long)part.c0() * taps;
    for (int k = mine; k < count; k += N * threads) {
        float w[N];
#pragma unroll
        for (int n = 0; n < N; n++) w[n] = from[k + n * threads < count ? k + n * threads : 0];
#pragma unroll
        for (int n = 0; n < N; n++)
            if (k + n * threads < count) part.taps(i)[k + n * threads] = w[n];
    }
    for (int o = mine; o < job.conv.outs; o += threads) part.factors(i)[o] = job.grad_z.factors(part.cell, part.g, o);
}

// sums[r] += over the outputs of a step, weight * grad z, for this thread's quad and channels `first` + r of a block.
template <int OWN> __forceinline__ void undo_pointwise(const DgradPart& part, int outs, int first, float4* sums) {
    const int lanes = part.tiling().lanes, channels = part.at().channels;
    const float4* dz = part.grad_z() + tile_lane(part.tiling());
    const float* weights = part.weights() + first;
#pragma unroll 4
    for (int o = 0; o < outs; o++, dz += lanes, weights += channels) {
        const float4 four = *dz;
        float w[OWN];
        read_weights<OWN>(weights, w);
#pragma unroll
        for (int r = 0; r < OWN; r++) sums[r] += w[r] * four;
    }
}

// The same for this thread's own channels of a plane.
template <int R> __forceinline__ void undo_pointwise(const DgradPart& part, int outs, float4 (&sums)[R]) {
    const int own = part.at().own, first = tile_group(part.tiling()) * own;
    if (first >= part.at().channels) return;
    if (own == R)
        undo_pointwise<R>(part, outs, first, sums);
    else
        undo_pointwise<1>(part, outs, first, sums);
}

// Undoes a job's 1x1 convolution into planes. i: which of its batch; in: what the job's first step brought; then the first one
// of the job after it, if there is one.
template <int R> __forceinline__ void undo_job(const DgradPart& part, int number, int i, Incoming<R>& in) {
    const BlockJob& job = part.job(number);
    const bool next = number + 1 < part.target().jobs;
    const Tiling& out = part.tiling();
    const int steps = part.at().steps;
    for (int q0 = 0; q0 < out.quads; q0 += out.lanes) {
        float4 undone[R];
#pragma unroll
        for (int r = 0; r < R; r++) undone[r] = make_float4(0, 0, 0, 0);
        for (int o0 = 0; o0 < job.conv.outs; o0 += steps) {
            put_step(part, job.conv, i, q0, o0, in);
            __syncthreads();
            const bool outs_end = o0 + steps >= job.conv.outs, last = outs_end && q0 + out.lanes >= out.quads;
            const int next_q = last ? 0 : outs_end ? q0 + out.lanes : q0;
            if (!last || next) bring(part, part.job(number + last), next_q, outs_end ? 0 : o0 + steps, in);
            undo_pointwise(part, outs_end ? job.conv.outs - o0 : steps, undone);
            if (!last) __syncthreads();
        }
        const PaddedPlane tile = part.target().plane();
        const QuadPlace at = part.place(q0);
        const int c = tile_group(out) * part.at().own;
        float* to = part.shared + c * tile.floats + tile.at(at.y, at.x);
#pragma unroll
        for (int r = 0; r < R; r++)
            if (at.has && r < part.at().own && c + r < part.at().channels) *(float4*)(to + r * tile.floats) = undone[r];
    }
}

// sums[r] += what this thread's quad of channels group * R + r receives through a job's depthwise convolution.
template <int R>
__forceinline__ void add_depthwise(const DgradPart& part, const DgradConv& conv, int i, float4 (&sums)[R]) {
    const PaddedPlane tile = part.target().plane();
    const QuadPlace at = part.in.unpacked();
    const int first = tile_group(part.target().in) * R;
#pragma unroll 1
    for (int r = 0; r < R; r++)
        if (at.has && part.c0() + first + r < part.target().channels)
            add_to(sums, r,
                   depthwise_dgrad(conv, tile, part.shared + (first + r) * tile.floats,
                                   part.taps(i) + (first + r) * conv.kernel * conv.kernel, at.y, at.x));
}

// sums[r] += the same through a target's convolutions.
template <int R> __forceinline__ void add_convolutions(const DgradPart& part, float4 (&sums)[R]) {
    if (part.target().jobs == 0) return;
    Incoming<R> in;
    __syncthreads();
    bring(part, part.job(0), 0, 0, in);
    for (int first = 0; first < part.target().jobs; first += part.at().batch) {
        if (first) __syncthreads();
        put_batch(part, first);
        __syncthreads();
        for (int i = 0; i < part.at().batch && first + i < part.target().jobs; i++) {
            undo_job(part, first + i, i, in);
            __syncthreads();
            add_depthwise(part, part.job(first + i).conv, i, sums);
        }
    }
}

// Writes sums[r], of which 0 is left past the end of a row.
template <int R> __forceinline__ void store(const DgradPart& part, float4 (&sums)[R]) {
    const Target& target = part.target();
    const QuadPlace at = part.in.unpacked();
    const int c = part.channel<R>();
    float* row = target_plane(part.cell, part.g, target, part.image(), c) + at.y * target.W;
#pragma unroll
    for (int r = 0; r < R; r++) {
        sums[r] = within(sums[r], at.x, target.W);
        if (at.has && c + r < target.all(part.cell.C))
            write_quad(row + r * target.H * target.W, at.x, target.W, sums[r]);
    }
}

__forceinline__ void copy_table(const DgradJobs& jobs, int C, DgradTable& to) {
    constexpr int TARGET = sizeof(Target) / sizeof(int), LAYOUT = sizeof(DgradLayout) / sizeof(int);
    static_assert(TARGET + LAYOUT < CELL_THREADS, "an int a thread");
    const int number = (int)blockIdx.z % jobs.targets, i = threadIdx.x;
    const DgradLayout& layout = jobs.layout[number];
    if (i < TARGET)
        ((int*)&to.target)[i] = ((const int*)&jobs.target[number])[i];
    else if (i < TARGET + LAYOUT)
        ((int*)&to.at)[i - TARGET] = ((const int*)&layout)[i - TARGET];
    else if (i == TARGET + LAYOUT) {
        to.number = number;
        const int part = (int)blockIdx.z / jobs.targets * gridDim.x + blockIdx.x, all = jobs.target[number].all(C);
        to.c0 = part * layout.channels;
        to.part = {part, (all + layout.channels - 1) / layout.channels, layout.channels};
    }
    __syncthreads();
}

template <int R> __forceinline__ void dgrad_block(const CellView& cell, const GradView& g, const DgradJobs& jobs) {
    SHARED_DYNAMIC(float, shared);
    SHARED(int, table, sizeof(DgradTable) / sizeof(int));
    SHARED(float, edges, 3 * MOST_OUT_EDGES);
    SHARED(float, norm_sums, 2 * R * GROUP_PARTS);
    for (int i = threadIdx.x; i < 2 * R * GROUP_PARTS; i += CELL_THREADS) norm_sums[i] = 0;
    copy_table(jobs, cell.C, *(DgradTable*)table);
    const Target& target = ((const DgradTable*)table)->target;
    DgradPart part{cell,
                   g,
                   jobs,
                   *(const DgradTable*)table,
                   shared,
                   edges,
                   {target.in, target.in_rows, 0},
                   {target.out, target.out_rows, 0}};
    if (part.c0() >= target.all(cell.C)) return;
    if (part.c0() < target.channels) {
        put_jobs(part);
        clear(shared, part.at().channels * target.plane().floats);
    }
    for (int q0 = 0; q0 < target.in.quads; q0 += target.in.lanes) {
        if (q0) part.in = PackedPlace(target.in, target.in_rows, q0);
        unsigned char patterns[R];
        read_patterns(part, patterns);
        float4 sums[R];
#pragma unroll
        for (int r = 0; r < R; r++) sums[r] = make_float4(0, 0, 0, 0);
        if (part.c0() < target.channels) add_convolutions(part, sums);
        mask(part, patterns, sums);
        if (target.to == To::state) add_pool_skip_dgrad(part, sums);
        store(part, sums);
        if (target.norm != NO_NORM) add_norm_sums(part, sums, norm_sums);
    }
    finish_part<R>(part, norm_sums);
}

KERNEL __launch_bounds__(CELL_THREADS, 3)
    dgrad_kernel_1(CellView cell, GradView g, const DgradJobs* __restrict__ jobs) {
    dgrad_block<1>(cell, g, *jobs);
}
KERNEL __launch_bounds__(CELL_THREADS, 3)
    dgrad_kernel_2(CellView cell, GradView g, const DgradJobs* __restrict__ jobs) {
    dgrad_block<2>(cell, g, *jobs);
}

}  // namespace sgl_fast
