// Gradients in the inputs of convolutions and pools: a block an image, a target and some of its channels; those that go
// through convolutions take the longest and come first. Every job's 1x1 convolution is undone into planes with a border in
// shared memory, from which each thread gathers what four neighbouring pixels of R channels receive. While it computes, what
// comes next is on its way to its registers.
#include "convolve.cuh"
#include "pool_skip_dgrad.cuh"

namespace sgl_fast {

// What four neighbouring pixels of a row receive through a depthwise convolution of stride 2, each by the taps of its parity.
// plane: of grad z, with its border.
template <int K, int D>
__forceinline__ float4 strided_dgrad(const PaddedPlane& tile, const float* plane, const float* w, int y, int x) {
    constexpr int reach = K / 2 * D, back = (reach / 2 + 1) / 2 * 2, width = (back + (3 + reach) / 2 + 2) / 2 * 2;
    float sums[4] = {0, 0, 0, 0};
    const int odd = (y + reach) % 2;
    if (D == 2 && odd) return make_float4(0, 0, 0, 0);
#pragma unroll 1
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

// A block's part of a target.
struct DgradPart {
    const Target& target;
    const DgradLayout at;
    const Tiling& out;  // of planes of grad z
    int image, c0;
    float* shared;

    DgradPart(const Target& target, int R, int image, int part, float* shared)
        : target(target), at(target, R), out(target.out), image(image), c0(part * at.channels), shared(shared) {}
    float4* grad_z() const { return (float4*)(shared + at.grad_z); }
    float* weights() const { return shared + at.weights; }
    BnFactors* factors() const { return (BnFactors*)(shared + at.factors); }
    float* taps() const { return shared + at.taps; }
    // Where grad z of a job, of the target's first one on, comes from: the same for all threads and steps.
    GradZPlanes& planes(int job) const { return ((GradZPlanes*)(shared + at.planes))[job]; }
    int quad(int q0) const { return q0 + tile_lane(out) < out.quads ? q0 + tile_lane(out) : out.quads - 1; }
};

// Of a step, some quads from q0 on and outputs from o0 on, in registers: grad z of R outputs of a quad, and the weight whose
// place is the thread's.
template <int R> struct Incoming {
    float4 dy[R], z[R];
    float weight;
};

// Weight i of a step: of an output and a channel, 0 where the target or the job has none.
template <int R>
__forceinline__ float dgrad_weight(const CellView& cell, const DgradPart& part, const DgradJob& job, int o0, int i) {
    const PowerOfTwo channels = part.target.block_channels(R);
    const int o = o0 + i / channels, c = part.c0 + i % channels, ins = part.target.channels;
    const bool has = o < job.outs && c < ins && i < part.at.steps * channels;
    return has ? cell.weights_of(part.image / cell.N)[job.pointwise + o * ins + c] : 0;
}

template <int R>
__forceinline__ void bring(const CellView& cell, const DgradPart& part, const DgradJob* jobs, int number, int q0,
                           int o0, Incoming<R>& to) {
    const int q = part.quad(q0), y = part.out.y(q), x = part.out.x(q);
    const DgradJob& job = jobs[number];
    part.planes(number).read(o0 + tile_group(part.out), part.out.groups, job.outs - 1, y, x, part.target.out_W, to.dy,
                             to.z);
    to.weight = dgrad_weight<R>(cell, part, job, o0, threadIdx.x);
}

// What a step brought, into shared memory.
template <int R>
__forceinline__ void put_step(const CellView& cell, const DgradPart& part, const DgradJob& job, int q0, int o0,
                              const Incoming<R>& from) {
    const int x = part.out.x(part.quad(q0)), count = part.at.steps * part.at.channels;
#pragma unroll
    for (int i = 0; i < R; i++) {
        const int mine = tile_group(part.out) + i * part.out.groups;
        const int o = o0 + mine < job.outs ? o0 + mine : job.outs - 1;
        part.grad_z()[mine * part.out.lanes + tile_lane(part.out)] =
            GradZPlanes::quad(part.factors()[o], from.dy[i], from.z[i], x, part.target.out_W);
    }
    if ((int)threadIdx.x < count) part.weights()[threadIdx.x] = from.weight;
    for (int i = threadIdx.x + CELL_THREADS; i < count; i += CELL_THREADS)
        part.weights()[i] = dgrad_weight<R>(cell, part, job, o0, i);
}

__forceinline__ void put_planes(const CellView& cell, const GradView& g, const DgradPart& part, const DgradJob* jobs) {
    static_assert(sizeof(GradZPlanes) == GRAD_Z_FLOATS * sizeof(float), "shared memory has room for them");
    for (int j = threadIdx.x; j < part.target.jobs; j += CELL_THREADS)
        part.planes(j) = GradZPlanes(cell, g, jobs[j].grad_z, part.image);
}

__forceinline__ void put_factors(const CellView& cell, const GradView& g, const DgradPart& part, const DgradJob* jobs,
                                 int number) {
    for (int o = threadIdx.x; o < jobs[number].outs; o += CELL_THREADS)
        part.factors()[o] = part.planes(number).factors(cell, g, o);
}

__forceinline__ void put_taps(const CellView& cell, const DgradPart& part, const DgradJob& job) {
    const int taps = job.kernel * job.kernel, left = part.target.channels - part.c0,
              count = (left < part.at.channels ? left : part.at.channels) * taps;
    if (taps == 1) return;
    const float* from = cell.weights_of(part.image / cell.N) + job.depthwise + (long long)part.c0 * taps;
    for (int i = threadIdx.x; i < count; i += CELL_THREADS) part.taps()[i] = from[i];
}

// sums[r] += over the outputs of a step, weight * grad z, for this thread's quad and `own` channels of a plane.
template <int R> __forceinline__ void undo_pointwise(const DgradPart& part, int outs, int own, float4 (&sums)[R]) {
    const float4* dz = part.grad_z() + tile_lane(part.out);
    const int channels = part.at.channels, first = tile_group(part.out) * own;
    if (first >= channels) return;
    if (own == R) {
#pragma unroll 4
        for (int o = 0; o < outs; o++) {
            const float4 four = dz[o * part.out.lanes];
            float w[R];
            read_weights<R>(part.weights() + o * channels + first, w);
#pragma unroll
            for (int r = 0; r < R; r++) sums[r] += w[r] * four;
        }
        return;
    }
    for (int o = 0; o < outs; o++)
#pragma unroll
        for (int r = 0; r < R; r++)
            if (r < own) sums[r] += part.weights()[o * channels + first + r] * dz[o * part.out.lanes];
}

// Undoes a job's 1x1 convolution into planes. in: what the job's first step brought; then the first one of the job after it, if
// there is one.
template <int R>
__forceinline__ void undo_job(const CellView& cell, const DgradPart& part, const DgradJob* jobs, int number,
                              Incoming<R>& in) {
    const DgradJob& job = jobs[number];
    const bool next = number + 1 < part.target.jobs;
    const PaddedPlane tile = part.target.plane();
    const Tiling& out = part.out;
    const int steps = part.at.steps, own = part.at.channels > out.groups ? part.at.channels / out.groups : 1;
    for (int q0 = 0; q0 < out.quads; q0 += out.lanes) {
        float4 undone[R];
#pragma unroll
        for (int r = 0; r < R; r++) undone[r] = make_float4(0, 0, 0, 0);
        for (int o0 = 0; o0 < job.outs; o0 += steps) {
            put_step(cell, part, job, q0, o0, in);
            __syncthreads();
            const bool outs_end = o0 + steps >= job.outs, last = outs_end && q0 + out.lanes >= out.quads;
            const int next_q = last ? 0 : outs_end ? q0 + out.lanes : q0;
            if (!last || next) bring(cell, part, jobs, number + last, next_q, outs_end ? 0 : o0 + steps, in);
            undo_pointwise(part, outs_end ? job.outs - o0 : steps, own, undone);
            if (!last) __syncthreads();
        }
        const int q = q0 + tile_lane(out);
        float* to = part.shared + tile.at(out.y(q), out.x(q));
#pragma unroll
        for (int r = 0; r < R; r++) {
            const int c = tile_group(out) * own + r;
            if (q < out.quads && r < own && c < part.at.channels) *(float4*)(to + c * tile.floats) = undone[r];
        }
    }
}

// This thread's quad of a target's tile from q0 on, if it has one.
struct TargetQuad {
    bool has;
    int y, x;

    TargetQuad(const Tiling& tiling, int q0) : has(q0 + tile_lane(tiling) < tiling.quads) {
        const int q = has ? q0 + tile_lane(tiling) : 0;
        y = tiling.y(q);
        x = tiling.x(q);
    }
};

// sums[r] += what this thread's quad of channels group * R + r receives through a target's convolutions.
template <int R>
__forceinline__ void add_convolutions(const CellView& cell, const GradView& g, const DgradJobs& jobs,
                                      const DgradPart& part, const TargetQuad& at, float4 (&sums)[R]) {
    const PaddedPlane tile = part.target.plane();
    const DgradJob* of = jobs.job + part.target.first_job;
    if (part.target.jobs == 0) return;
    Incoming<R> in;
    __syncthreads();
    bring(cell, part, of, 0, 0, 0, in);
    put_factors(cell, g, part, of, 0);
    __syncthreads();
    for (int number = 0; number < part.target.jobs; number++) {
        const DgradJob* job = of + number;
        undo_job(cell, part, of, number, in);
        put_taps(cell, part, *job);
        if (number + 1 < part.target.jobs) put_factors(cell, g, part, of, number + 1);
        __syncthreads();
#pragma unroll 1
        for (int r = 0; r < R; r++) {
            const int c = tile_group(part.target.in) * R + r;
            if (at.has && part.c0 + c < part.target.channels)
                add_to(sums, r,
                       depthwise_dgrad(*job, tile, part.shared + c * tile.floats,
                                       part.taps() + c * job->kernel * job->kernel, at.y, at.x));
        }
    }
}

template <int R> __forceinline__ void dgrad_block(const CellView& cell, const GradView& g, const DgradJobs& jobs) {
    SHARED_DYNAMIC(float, shared);
    SHARED(float, edges, 3 * MOST_OUT_EDGES);
    SHARED(float, norm_sums, 2 * R * GROUP_PARTS);
    const int number = (int)blockIdx.z % jobs.targets, image = blockIdx.y,
              which = (int)blockIdx.z / jobs.targets * gridDim.x + blockIdx.x;
    const Target& target = jobs.target[number];
    const int all = target.all(cell.C);
    const DgradPart part(target, R, image, which, shared);
    if (part.c0 >= all) return;
    const Tiling& tiling = target.in;
    if (part.c0 < target.channels) {
        put_planes(cell, g, part, jobs.job + target.first_job);
        clear(shared, part.at.channels * target.plane().floats);
    }
    for (int q0 = 0; q0 < anew(tiling.quads); q0 += tiling.lanes) {
        float4 sums[R];
#pragma unroll
        for (int r = 0; r < R; r++) sums[r] = make_float4(0, 0, 0, 0);
        if (part.c0 < target.channels) add_convolutions(cell, g, jobs, part, TargetQuad(tiling, q0), sums);
        const TargetQuad at(tiling, anew(q0));
        const int c = anew(part.c0) + tile_group(tiling) * R;
        const unsigned open = open_bits<R>(cell, target, image, c, at.y, at.x);
#pragma unroll
        for (int r = 0; r < R; r++) sums[r] = masked(sums[r], open >> 4 * r);
        if (target.to == To::state)
            add_pool_skip_dgrad(cell, g, target, jobs.state[number],
                                {shared, shared + part.at.grad_z, edges, part.c0, part.at.channels}, image, c, at.has,
                                at.y, at.x, sums);
#pragma unroll
        for (int r = 0; r < R; r++) {
            sums[r] = within(sums[r], at.x, target.W);
            if (at.has && c + r < all)
                write_quad(target_plane(cell, g, target, image, c + r) + at.y * target.W, at.x, target.W, sums[r]);
        }
        if (target.norm != NO_NORM) add_norm_sums(cell, target, image, c, at.has, at.y, at.x, sums, q0 == 0, norm_sums);
    }
    finish_part<R>(cell, g, jobs, target, anew(image), anew(which), norm_sums);
}

KERNEL __launch_bounds__(CELL_THREADS, 2)
    dgrad_kernel_1(CellView cell, GradView g, const DgradJobs* __restrict__ jobs) {
    dgrad_block<1>(cell, g, *jobs);
}
KERNEL __launch_bounds__(CELL_THREADS, 2)
    dgrad_kernel_2(CellView cell, GradView g, const DgradJobs* __restrict__ jobs) {
    dgrad_block<2>(cell, g, *jobs);
}

}  // namespace sgl_fast
