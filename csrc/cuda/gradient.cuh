// Gradients in the inputs of convolutions and pools: a block an image, a target and some of its channels. Every job's 1x1
// convolution is undone into planes with a border in shared memory, from which each thread gathers what four neighbouring
// pixels of R channels receive.
#pragma once

#include "convolve.cuh"
#include "slopes.cuh"

namespace sgl_fast {

constexpr int MOST_SLOPE_JOBS = 80;
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
    StateJob state[2];  // of the targets that are states
    NodeJob node;       // which a target is, and whose sums come next
};

// Floats of shared memory for R channels a thread: planes, sums, 1x1 weights and factors for at most `outs` slopes.
__host__ __device__ inline int slope_floats(const Target& target, int outs, int R) {
    const Tiling tiling(target.H, target.W);
    return tiling.groups * R * (PaddedPlane(1, target.out_H, target.out_W).floats + 4 * tiling.lanes + outs) + 4 * outs;
}

// planes[c] = the sum over o of weight(o, c0 + c) * slope(o), for channels c < count.
template <int R>
__device__ __forceinline__ void undo_pointwise(const CellView& cell, const GradView& g, const SlopeJob& job, const Target& target,
                                               int image, int c0, int count, float* weights, float* planes) {
    const PaddedPlane tile(1, target.out_H, target.out_W);
    const float* w = cell.weights_of(image / cell.N) + job.pointwise;
    const SlopePlanes slopes(cell, g, job.slope, image);
    SlopeFactors* factors = (SlopeFactors*)(weights + job.outs * count);
    for (int o = threadIdx.x; o < job.outs; o += CELL_THREADS) factors[o] = slopes.factors(cell, g, o);
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
            const float4 slope = slopes.quad(factors[o], o, y, x, target.out_W);
            float w[R];
            read_weights<R>(weights + o * count + c, w);
#pragma unroll
            for (int r = 0; r < R; r++) sums[r] += w[r] * slope;
        }
        float* to = planes + (y + PAD) * tile.row + x + PAD;
#pragma unroll
        for (int r = 0; r < R; r++) *(float4*)(to + (c + r) * tile.floats) = sums[r];
    }
    __syncthreads();
}

// What input pixel (y, x) receives through a depthwise convolution of stride 2. plane: of the slopes, with its border.
__device__ __forceinline__ float undo_strided(const SlopeJob& job, const float* plane, int row, const float* w, int y, int x) {
    const int reach = job.kernel / 2 * job.dilation;
    float total = 0;
    for (int i = 0; i < job.kernel; i++)
        for (int j = 0; j < job.kernel; j++) {
            const int up = y - job.first + reach - i * job.dilation, left = x - job.first + reach - j * job.dilation;
            const float tap = job.kernel == 1 ? 1.0f : w[i * job.kernel + j];
            if (up % 2 == 0 && left % 2 == 0) total += tap * plane[(up / 2 + PAD) * row + left / 2 + PAD];
        }
    return total;
}

// What four neighbouring pixels of a row receive.
__device__ __forceinline__ float4 undo_quad(const SlopeJob& job, const float* plane, int row, const float* w, int y, int x) {
    if (job.stride == 2)
        return make_float4(undo_strided(job, plane, row, w, y, x), undo_strided(job, plane, row, w, y, x + 1),
                           undo_strided(job, plane, row, w, y, x + 2), undo_strided(job, plane, row, w, y, x + 3));
    if (job.kernel == 1) return *(const float4*)(plane + (y + PAD) * row + x + PAD);
    return depthwise_quad<1, true>(job.kernel, job.dilation, plane + y * row + x, row, w);
}

// Into planes[c - c0]: the slope of a state's pool, of all edges that have it, for its mixed channels among c0 .. c0 + count
// - 1; an average pool's share of each pixel of its windows.
__device__ __forceinline__ void pool_slopes(const CellView& cell, const GradView& g, const Target& target, const StateJob& state,
                                            bool max, int image, int c0, int count, float* planes) {
    const PaddedPlane tile(1, target.out_H, target.out_W);
    const Tiling out(target.out_H, target.out_W);
    for (int i = threadIdx.x; i < count * out.quads; i += CELL_THREADS) {
        const int c = i / out.quads, q = i % out.quads, y = q / out.quads_in_row, x = q % out.quads_in_row * 4;
        float4 total = make_float4(0, 0, 0, 0);
        for (int e = 0; e < state.edges; e++) {
            const OutEdge& edge = state.edge[e];
            const int op = max ? edge.max_op : edge.avg_op;
            if (op < 0) continue;
            const Slope slope{Above::node, edge.node, 0, max ? state.max_z : state.avg_z, max ? edge.max_norm : edge.avg_norm,
                              edge.edge, op};
            const SlopePlanes slopes(cell, g, slope, image);
            total += slopes.quad(slopes.factors(cell, g, c0 + c), c0 + c, y, x, target.out_W);
        }
        const auto share = [&](int column) { return max ? 1 : inside(y, state.stride, target.H) * inside(column, state.stride, target.W); };
        *(float4*)(planes + c * tile.floats + (y + PAD) * tile.row + x + PAD) =
            make_float4(total.x / share(x), total.y / share(x + 1), total.z / share(x + 2), total.w / share(x + 3));
    }
}

// What input pixel (y, x) receives of the 3x3 windows that read it: of those that chose it, or of all. plane: of the slopes,
// with its border of zeros.
__device__ __forceinline__ float undo_pool(const Target& target, int stride, bool chosen, const unsigned char* codes, int channel,
                                           int y, int x, const float* plane) {
    const PaddedPlane tile(1, target.out_H, target.out_W);
    const int odd = stride - 1;
    float total = 0;
#pragma unroll
    for (int t = 0; t < 9; t++) {
        const int up = y + 1 - t / 3, left = x + 1 - t % 3, oy = up >> odd, ox = left >> odd;
        if ((up | left) & odd || oy < 0 || ox < 0 || oy >= target.out_H || ox >= target.out_W) continue;
        if (chosen && code_at(codes, channel, target.out_H, target.out_W, oy, ox) != t) continue;
        total += plane[(oy + PAD) * tile.row + ox + PAD];
    }
    return total;
}

// What four pixels of mixed channel m receive through stride-1 skips.
__device__ __forceinline__ float4 skip_rest(const CellView& cell, const GradView& g, const StateJob& state, int image, int m, int y,
                                            int x) {
    const int v = image / cell.N;
    float4 total = make_float4(0, 0, 0, 0);
    for (int e = 0; e < state.edges; e++) {
        const OutEdge& edge = state.edge[e];
        if (edge.skip_op < 0 && !edge.aux) continue;
        const float* plane = node_gradient(cell, g, edge.node, image) + (long long)m * (cell.C / cell.M) * cell.pixels();
        const float4 slope = cell.edge_weight(v, edge.edge) * read_quad(plane + y * cell.out_W, x, cell.out_W);
        if (edge.skip_op >= 0)
            total += cell.op_weight(v, edge.edge, edge.skip_op) * dropped(cell, edge.dropout, slope, image, m, y, x);
        if (edge.aux) total += cell.skip_beta * slope;
    }
    return total;
}

// The gradient of a bypassing channel's outputs, four of them.
__device__ __forceinline__ float4 bypass_slope(const CellView& cell, const GradView& g, const StateJob& state, int image, int channel,
                                               int y, int x) {
    const int at = channel % cell.M * (cell.C / cell.M) + channel / cell.M;  // in a node
    float4 total = make_float4(0, 0, 0, 0);
    for (int e = 0; e < state.edges; e++) {
        const float* plane = node_gradient(cell, g, state.edge[e].node, image) + (long long)at * cell.pixels();
        total += cell.edge_weight(image / cell.N, state.edge[e].edge) * read_quad(plane + y * cell.out_W, x, cell.out_W);
    }
    return total;
}

// What four pixels of a bypassing channel receive: through the 2x2 max-pool, if the stride is 2.
__device__ __forceinline__ float4 bypass_rest(const CellView& cell, const GradView& g, const Target& target, const StateJob& state,
                                              int image, int channel, int y, int x) {
    if (state.stride == 1) return bypass_slope(cell, g, state, image, channel, y, x);
    const unsigned char* codes = cell.pattern_of(image) + state.bypass_codes;
    const float4 four = bypass_slope(cell, g, state, image, channel, y / 2, x / 2 / 4 * 4);
    const auto chosen = [&](int column) {
        return column < target.W && code_at(codes, channel - cell.M, target.out_H, target.out_W, y / 2, column / 2) == y % 2 * 2 + column % 2;
    };
    const bool upper = x / 2 % 4 != 0;  // which half of the four outputs these pixels belong to
    const float left = upper ? four.z : four.x, right = upper ? four.w : four.y;
    return make_float4(chosen(x) ? left : 0, chosen(x + 1) ? left : 0, chosen(x + 2) ? right : 0, chosen(x + 3) ? right : 0);
}

// Where the gradient of a target's channel lies.
__device__ __forceinline__ float* target_plane(const CellView& cell, const GradView& g, const Target& target, int image, int channel) {
    const long long pixels = (long long)target.H * target.W;
    const int v = image / cell.N, n = image % cell.N;
    if (target.to == To::middle)
        return g.middles + (((long long)image * g.middle_count + target.index) * cell.M + channel) * pixels;
    if (target.to == To::state && target.index >= 2)
        return g.nodes + (((long long)image * (cell.nodes - 1) + target.index - 2) * cell.C + channel) * pixels;
    if (target.to == To::state && cell.preprocess)
        return g.states + (((long long)image * 2 + target.index) * cell.C + channel) * pixels;
    if (target.index == 0) return g.s[0] + v * cell.learner[0] + n * cell.image[0] + channel * pixels;
    return g.s[1] + v * cell.learner[1] + n * cell.image[1] + channel * pixels;
}

// Adds quad(c, y, x) to the gradient of channels c0 .. c0 + count - 1; a pixel is one thread's, always the same one.
template <class Quad>
__device__ __forceinline__ void add_quads(const CellView& cell, const GradView& g, const Target& target, int image, int c0, int count,
                                          const Quad& quad) {
    const Tiling tiling(target.H, target.W);
    for (int i = threadIdx.x; i < count * tiling.quads; i += CELL_THREADS) {
        const int c = c0 + i / tiling.quads, q = i % tiling.quads, y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
        float* row = target_plane(cell, g, target, image, c) + y * target.W;
        float4 sum = read_quad(row, x, target.W);
        sum += quad(c, y, x);
        write_quad(row, x, target.W, sum);
    }
}

// Adds what a state receives past the convolutions to its channels c0 .. c0 + count - 1.
__device__ __forceinline__ void add_rest(const CellView& cell, const GradView& g, const Target& target, const StateJob& state,
                                         int image, int c0, int count, float* planes) {
    const PaddedPlane tile(1, target.out_H, target.out_W);
    const int here = cell.M - c0 < count ? cell.M - c0 : count;
    for (int max = 1; max >= 0; max--) {
        if ((max ? state.max_z : state.avg_z) < 0 || here <= 0) continue;
        __syncthreads();
        pool_slopes(cell, g, target, state, max, image, c0, here, planes);
        __syncthreads();
        add_quads(cell, g, target, image, c0, here, [&](int c, int y, int x) {
            const unsigned char* codes = cell.pattern_of(image) + state.codes;
            const auto pixel = [&](int column) {
                return undo_pool(target, state.stride, max, codes, c, y, column, planes + (c - c0) * tile.floats);
            };
            return make_float4(pixel(x), pixel(x + 1), pixel(x + 2), pixel(x + 3));
        });
    }
    add_quads(cell, g, target, image, c0, count, [&](int c, int y, int x) {
        float4 total = make_float4(0, 0, 0, 0);
        if (c >= cell.M) total = bypass_rest(cell, g, target, state, image, c, y, x);
        if (c < cell.M && state.stride == 1) total = skip_rest(cell, g, state, image, c, y, x);
        const long long plane = ((long long)image * cell.nodes + target.index - 2) * cell.C + c;
        if (target.index >= 2) total += read_quad(g.grad + plane * cell.pixels() + y * cell.out_W, x, cell.out_W);
        return total;
    });
}

// The sums that the norm before a target needs.
__device__ __forceinline__ void target_slopes(const CellView& cell, const GradView& g, const Target& target, int image, int c0, int count) {
    const int pixels = target.H * target.W;
    for (int c = c0 + warp(); c < c0 + count; c += CELL_WARPS) {
        const Numbers z = target.to == To::middle
                              ? cell.planes_of(image) + target.z + (long long)c * pixels
                              : Numbers{cell.states + (((long long)image * 2 + target.index) * cell.C + c) * pixels, false};
        norm_slopes(cell, g, image, target.norm + c, target_plane(cell, g, target, image, c), z, target.H, target.W);
    }
}

// Four pixels of a row, as far as the target's ReLU is open.
__device__ __forceinline__ void store_open(const CellView& cell, const Target& target, int image, int channel, int y, int x,
                                           const float4& sum, float* plane) {
    const bool relu = channel < target.channels && target.bits >= 0;
    const unsigned bits = relu ? bits_at(cell.pattern_of(image) + target.bits, channel, target.H, target.W, y, x) : 0;
    write_quad(plane + y * target.W, x, target.W, opened(sum, bits));
}

template <int R> __global__ void __launch_bounds__(CELL_THREADS, 2) gradient_kernel(CellView cell, GradView g, SlopeJobs jobs) {
    SHARED_DYNAMIC(float, shared);
    const Target& target = jobs.target[blockIdx.z];
    const int image = blockIdx.y, v = image / cell.N, all = target.to == To::state ? cell.C : target.channels;
    const Tiling tiling(target.H, target.W);
    const PaddedPlane tile(1, target.out_H, target.out_W);
    const int count = tiling.groups * R, c0 = blockIdx.x * count;
    if (c0 >= all) return;
    float4* sums = (float4*)(shared + count * tile.floats);  // of each thread's quads, R a thread
    float* weights = (float*)(sums + count * tiling.lanes);
    clear(shared, count * tile.floats);
    const int mine = tiling.mine(), group = tiling.group();
    const int end = group * R + R < all - c0 ? group * R + R : all - c0;
    for (int q0 = 0; q0 < tiling.quads; q0 += tiling.lanes) {
        const int q = q0 + mine, y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
        for (int r = 0; r < R; r++) sums[(group * R + r) * tiling.lanes + mine] = make_float4(0, 0, 0, 0);
        for (int j = target.first_job; j < target.first_job + target.jobs && c0 < target.channels; j++) {
            const SlopeJob& job = jobs.job[j];
            __syncthreads();
            undo_pointwise<R>(cell, g, job, target, image, c0, count, weights, shared);
            const float* taps = cell.weights_of(v) + job.depthwise;
            for (int c = group * R; c < end && q < tiling.quads; c++) {
                if (c0 + c >= target.channels) break;
                sums[c * tiling.lanes + mine] += undo_quad(job, shared + c * tile.floats, tile.row,
                                                           taps + (long long)(c0 + c) * job.kernel * job.kernel, y, x);
            }
        }
        for (int c = group * R; c < end && q < tiling.quads; c++)
            store_open(cell, target, image, c0 + c, y, x, sums[c * tiling.lanes + mine], target_plane(cell, g, target, image, c0 + c));
    }
    const unsigned parts = (all + count - 1) / count;
    if (target.to == To::state) {
        __syncthreads();
        add_rest(cell, g, target, jobs.state[blockIdx.z], image, c0, c0 + count < all ? count : all - c0, shared);
        if (target.index >= 2 && last_of(g.image_tickets + (target.index - 2) * cell.images() + image, parts))
            node_slopes(cell, g, jobs.node, image);
    }
    if (target.norm == NO_NORM) return;
    __syncthreads();
    target_slopes(cell, g, target, image, c0, c0 + count < all ? count : all - c0);
    if (last_of(g.tickets + v * (cell.norms + cell.nodes) + target.norm, cell.N * parts))
        finish_slopes(cell, g, v, target.norm, all, target.H * target.W);
}

}  // namespace sgl_fast
