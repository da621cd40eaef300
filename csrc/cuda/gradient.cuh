// Gradients in the inputs of convolutions and pools: a block an image, a target and some of its channels. Every job's 1x1
// convolution is undone into planes with a border in shared memory, from which each thread gathers what four neighbouring
// pixels of R channels receive.
#pragma once

#include "convolve.cuh"
#include "pool.cuh"
#include "slopes.cuh"

namespace sgl_fast {

constexpr int MOST_SLOPE_JOBS = 48;
constexpr int MOST_TARGETS = 40;

// The way back through one convolution.
struct SlopeJob {
    Slope slope;
    int outs;                                   // channels of the slope
    int kernel, dilation, stride, first;        // as in ConvJob
    int depthwise, pointwise;
};

enum class To { middle, state, input };

// What receives: the sum over jobs first_job .. first_job + jobs - 1, where its ReLU is open; a state receives more.
struct Target {
    To to;
    int index;                    // which middle, state or input
    int H, W, out_H, out_W;       // of its planes, and of the slopes
    int channels;                 // with a ReLU and convolutions; a state has C in all
    int first_job, jobs;
    int bits;                     // pattern of its ReLU; -1: none
    int z, norm;                  // the norm that it is the result of; NO_NORM: none
};

struct OutEdge {
    int edge, node;
    int skip_op, dropout;         // of a stride-1 skip; -1: none
    bool aux;                     // a stride-1 auxiliary skip
    int max_op, max_norm, avg_op, avg_norm;
};

// What a state receives past the convolutions.
struct StateJob {
    int stride, edges, max_z, avg_z, codes, bypass_codes;
    OutEdge edge[MOST_EDGES];
};

struct SlopeJobs {
    SlopeJob job[MOST_SLOPE_JOBS];
    Target target[MOST_TARGETS];
    StateJob state;
};

// The slopes' planes in shared memory.
struct SlopeTile {
    int row, floats;
    __host__ __device__ SlopeTile(int out_H, int out_W) : row((out_W + 3) / 4 * 4 + 2 * PAD), floats((out_H + 2 * PAD) * row) {}
};

// Floats of shared memory for R channels a thread: planes, and 1x1 weights for at most `outs` slopes.
__host__ __device__ inline int slope_floats(const Target& target, int outs, int R) {
    const int channels = Tiling(target.H, target.W).groups * R;
    return channels * (SlopeTile(target.out_H, target.out_W).floats + outs);
}

// planes[c] = the sum over o of weight(o, c0 + c) * slope(o), for channels c < count.
template <int R>
__device__ __forceinline__ void undo_pointwise(const CellView& cell, const GradView& g, const SlopeJob& job, const Target& target,
                                               int image, int c0, int count, float* weights, float* planes) {
    const SlopeTile tile(target.out_H, target.out_W);
    const float* w = cell.weights_of(image / cell.N) + job.pointwise;
    for (int i = threadIdx.x; i < job.outs * count; i += CELL_THREADS) {
        const int c = c0 + i % count;
        weights[i] = c < target.channels ? w[(long long)(i / count) * target.channels + c] : 0.0f;
    }
    __syncthreads();
    const int pixels = target.out_H * target.out_W;
    for (int i = threadIdx.x; i < pixels * (count / R); i += CELL_THREADS) {
        const int index = i % pixels, c = i / pixels * R;
        float sums[R];
#pragma unroll
        for (int r = 0; r < R; r++) sums[r] = 0;
        for (int o = 0; o < job.outs; o++) {
            const float slope = SlopePlane(cell, g, job.slope, image, o).pixel(index);
#pragma unroll
            for (int r = 0; r < R; r++) sums[r] += weights[o * count + c + r] * slope;
        }
        float* to = planes + (index / target.out_W + PAD) * tile.row + index % target.out_W + PAD;
#pragma unroll
        for (int r = 0; r < R; r++) to[(c + r) * tile.floats] = sums[r];
    }
    __syncthreads();
}

// What input pixel (y, x) receives through a depthwise convolution. plane: of the slopes, with its border.
template <int K, int D, int S> __device__ __forceinline__ float undo_depthwise(const float* plane, int row, const float* w, int y, int x) {
    constexpr int reach = K / 2 * D;
    float total = 0;
#pragma unroll
    for (int i = 0; i < K; i++)
#pragma unroll
        for (int j = 0; j < K; j++) {
            const int up = y + reach - i * D, left = x + reach - j * D;
            if (up % S == 0 && left % S == 0) total += w[i * K + j] * plane[(up / S + PAD) * row + left / S + PAD];
        }
    return total;
}

__device__ __forceinline__ float undo_depthwise(const SlopeJob& job, const float* plane, int row, const float* w, int y, int x) {
    if (job.kernel == 1) {
        const int up = y - job.first, left = x - job.first;
        if (up % job.stride || left % job.stride) return 0;
        return plane[(up / job.stride + PAD) * row + left / job.stride + PAD];
    }
    if (job.stride == 2) {
        if (job.kernel == 3) return job.dilation == 1 ? undo_depthwise<3, 1, 2>(plane, row, w, y, x) : undo_depthwise<3, 2, 2>(plane, row, w, y, x);
        return job.dilation == 1 ? undo_depthwise<5, 1, 2>(plane, row, w, y, x) : undo_depthwise<5, 2, 2>(plane, row, w, y, x);
    }
    if (job.kernel == 3) return job.dilation == 1 ? undo_depthwise<3, 1, 1>(plane, row, w, y, x) : undo_depthwise<3, 2, 1>(plane, row, w, y, x);
    return job.dilation == 1 ? undo_depthwise<5, 1, 1>(plane, row, w, y, x) : undo_depthwise<5, 2, 1>(plane, row, w, y, x);
}

// The slope of a state's pool, of all edges that have it, at one output pixel of mixed channel m.
__device__ __forceinline__ float pool_slope(const CellView& cell, const GradView& g, const StateJob& state, bool max, int image,
                                            int m, int index) {
    float total = 0;
    for (int e = 0; e < state.edges; e++) {
        const OutEdge& edge = state.edge[e];
        const int op = max ? edge.max_op : edge.avg_op;
        if (op < 0) continue;
        const Slope slope{Above::node, edge.node, 0, max ? state.max_z : state.avg_z, max ? edge.max_norm : edge.avg_norm,
                          edge.edge, op};
        total += SlopePlane(cell, g, slope, image, m).pixel(index);
    }
    return total;
}

// What a pixel receives of the windows of SIDE x SIDE that chose it. slope, codes: of its channel's outputs.
template <int SIDE, class SlopeAt>
__device__ __forceinline__ float undo_max_pool(const Target& target, int stride, const unsigned char* codes, int channel, int y,
                                               int x, const SlopeAt& slope) {
    constexpr int border = SIDE == 3;
    float total = 0;
    for (int t = 0; t < SIDE * SIDE; t++) {
        const int up = y + border - t / SIDE, left = x + border - t % SIDE;
        if (up % stride || left % stride || up < 0 || left < 0) continue;
        const int oy = up / stride, ox = left / stride;
        if (oy >= target.out_H || ox >= target.out_W) continue;
        if (code_at(codes, channel, target.out_H, target.out_W, oy, ox) == t) total += slope(oy * target.out_W + ox);
    }
    return total;
}

__device__ __forceinline__ int inside(int at, int stride, int size) {
    const int first = stride * at - 1, last = first + 2;
    return 3 - (first < 0) - (last >= size);
}

template <class SlopeAt>
__device__ __forceinline__ float undo_avg_pool(const Target& target, int stride, int y, int x, const SlopeAt& slope) {
    float total = 0;
    for (int t = 0; t < 9; t++) {
        const int up = y + 1 - t / 3, left = x + 1 - t % 3;
        if (up % stride || left % stride || up < 0 || left < 0) continue;
        const int oy = up / stride, ox = left / stride;
        if (oy >= target.out_H || ox >= target.out_W) continue;
        total += slope(oy * target.out_W + ox) / (inside(oy, stride, target.H) * inside(ox, stride, target.W));
    }
    return total;
}

// What a pixel of a state's mixed channel m receives past the convolutions.
__device__ __forceinline__ float mixed_rest(const CellView& cell, const GradView& g, const Target& target, const StateJob& state,
                                            int image, int m, int y, int x) {
    const int v = image / cell.N, index = y * target.W + x;
    const unsigned char* pattern = cell.pattern_of(image);
    float total = 0;
    if (state.max_z >= 0)
        total += undo_max_pool<3>(target, state.stride, pattern + state.codes, m, y, x,
                                  [&](int i) { return pool_slope(cell, g, state, true, image, m, i); });
    if (state.avg_z >= 0)
        total += undo_avg_pool(target, state.stride, y, x,
                               [&](int i) { return pool_slope(cell, g, state, false, image, m, i); });
    for (int e = 0; e < state.edges && state.stride == 1; e++) {
        const OutEdge& edge = state.edge[e];
        const float* slope = node_gradient(cell, g, edge.node, image) + (long long)m * (cell.C / cell.M) * cell.pixels();
        const float whole = cell.edge_weight(v, edge.edge);
        const InEdge masked{edge.edge, 0, -1, edge.dropout, 0, {}};
        if (edge.skip_op >= 0)
            total += whole * cell.op_weight(v, edge.edge, edge.skip_op) * dropped(cell, masked, slope[index], image, m, index);
        if (edge.aux) total += whole * cell.skip_beta * slope[index];
    }
    return total;
}

// What a pixel of a state's bypassing channel receives.
__device__ __forceinline__ float bypass_rest(const CellView& cell, const GradView& g, const Target& target, const StateJob& state,
                                             int image, int channel, int y, int x) {
    const int at = channel % cell.M * (cell.C / cell.M) + channel / cell.M;  // in a node
    const auto slope = [&](int index) {
        float total = 0;
        for (int e = 0; e < state.edges; e++) {
            const float* plane = node_gradient(cell, g, state.edge[e].node, image) + (long long)at * cell.pixels();
            total += cell.edge_weight(image / cell.N, state.edge[e].edge) * plane[index];
        }
        return total;
    };
    if (state.stride == 1) return slope(y * target.W + x);
    return undo_max_pool<2>(target, 2, cell.pattern_of(image) + state.bypass_codes, channel - cell.M, y, x, slope);
}

// Where the gradient of a target's channel lies; null where nobody wants it.
__device__ __forceinline__ float* target_plane(const CellView& cell, const GradView& g, const Target& target, int image, int channel) {
    const long long pixels = (long long)target.H * target.W;
    const int v = image / cell.N, n = image % cell.N;
    if (target.to == To::middle)
        return g.middles + (((long long)image * g.middle_count + target.index) * cell.M + channel) * pixels;
    if (target.to == To::state && target.index >= 2)
        return g.nodes + (((long long)image * (cell.nodes - 1) + target.index - 2) * cell.C + channel) * pixels;
    if (target.to == To::state && cell.preprocess)
        return g.states + (((long long)image * 2 + target.index) * cell.C + channel) * pixels;
    float* to = g.s[target.index];
    return to ? to + v * cell.learner[target.index] + n * cell.image[target.index] + channel * pixels : nullptr;
}

// One pixel, from what the convolutions passed on.
__device__ __forceinline__ float received(const CellView& cell, const GradView& g, const Target& target, const StateJob& state,
                                          int image, int channel, int y, int x, float convolved) {
    float total = 0;
    if (channel < target.channels && target.bits >= 0 &&
        bit_at(cell.pattern_of(image) + target.bits, channel, target.H, target.W, y, x))
        total = convolved;
    if (target.to != To::state) return total;
    total += channel < cell.M ? mixed_rest(cell, g, target, state, image, channel, y, x)
                              : bypass_rest(cell, g, target, state, image, channel, y, x);
    if (target.index >= 2)
        total += g.grad[((long long)image * cell.nodes + target.index - 2) * cell.C * cell.pixels() +
                        (long long)channel * cell.pixels() + y * target.W + x];
    return total;
}

// The sums that the norm before a target needs.
__device__ __forceinline__ void target_slopes(const CellView& cell, const GradView& g, const Target& target, int image, int c0, int count) {
    const int v = image / cell.N, pixels = target.H * target.W;
    for (int c = c0 + warp(); c < c0 + count; c += CELL_WARPS) {
        const int norm = target.norm + c;
        const float* z = target.to == To::middle ? cell.planes_of(image) + target.z + (long long)c * pixels
                                                 : cell.states + (((long long)image * 2 + target.index) * cell.C + c) * pixels;
        float one, along;
        slope_sums(target_plane(cell, g, target, image, c), z, cell.mean(v)[norm], pixels, one, along);
        if (lane() != 0) continue;
        g.partial_one[(long long)image * cell.norms + norm] = one;
        g.partial_z[(long long)image * cell.norms + norm] = along;
    }
}

template <int R> __global__ void __launch_bounds__(CELL_THREADS) gradient_kernel(CellView cell, GradView g, SlopeJobs jobs) {
    SHARED_DYNAMIC(float, shared);
    const Target& target = jobs.target[blockIdx.y];
    const int image = blockIdx.x, v = image / cell.N, all = target.to == To::state ? cell.C : target.channels;
    const Tiling tiling(target.H, target.W);
    const SlopeTile tile(target.out_H, target.out_W);
    const int count = tiling.groups * R, c0 = blockIdx.z * count;
    if (c0 >= all) return;
    float* weights = shared + count * tile.floats;
    for (int i = threadIdx.x; i < count * tile.floats; i += CELL_THREADS) shared[i] = 0;
    const int lane_ = threadIdx.x % tiling.lanes, group = threadIdx.x / tiling.lanes;
    for (int q0 = 0; q0 < tiling.quads; q0 += tiling.tile()) {
        const int q = q0 + lane_, y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
        const bool mine = lane_ < tiling.tile() && q < tiling.quads;
        float sums[R][4];
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
            for (int e = 0; e < 4; e++) sums[r][e] = 0;
        for (int j = target.first_job; j < target.first_job + target.jobs && c0 < target.channels; j++) {
            const SlopeJob& job = jobs.job[j];
            __syncthreads();
            undo_pointwise<R>(cell, g, job, target, image, c0, count, weights, shared);
            const float* taps = cell.weights_of(v) + job.depthwise;
#pragma unroll
            for (int r = 0; r < R; r++) {
                const int c = group * R + r;
                if (!mine || c0 + c >= target.channels) continue;
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sums[r][e] += undo_depthwise(job, shared + c * tile.floats, tile.row,
                                                 taps + (long long)(c0 + c) * job.kernel * job.kernel, y, x + e);
            }
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            const int c = c0 + group * R + r;
            if (!mine || c >= all) continue;
            float* to = target_plane(cell, g, target, image, c);
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (to && x + e < target.W)
                    to[y * target.W + x + e] = received(cell, g, target, jobs.state, image, c, y, x + e, sums[r][e]);
        }
    }
    if (target.norm == NO_NORM) return;
    __syncthreads();
    target_slopes(cell, g, target, image, c0, c0 + count < all ? count : all - c0);
    const unsigned parts = (all + count - 1) / count;
    if (last_of(g.tickets + v * (cell.norms + cell.nodes) + target.norm, cell.N * parts))
        finish_slopes(cell, g, v, target.norm, all, target.H * target.W);
}

}  // namespace sgl_fast
