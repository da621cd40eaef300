// What a state receives past the convolutions: from pools, skips and bypassing channels.
#pragma once

#include "dgrad_part.cuh"

namespace sgl_fast {

// Of a state's out-edges, in shared memory: weights of edges, and of what lies on them, 0 where it does not.
struct EdgeWeights {
    float *whole, *skip, *aux;

    explicit EdgeWeights(float* memory)
        : whole(memory), skip(memory + MOST_OUT_EDGES), aux(memory + 2 * MOST_OUT_EDGES) {}
    // A block.
    __forceinline__ void fill(const CellView& cell, const StateJob& state, int v) const {
        for (int e = threadIdx.x; e < state.edges; e += CELL_THREADS) {
            const OutEdge& edge = state.edge[e];
            const float weight = cell.edge_weight(v, edge.edge);
            whole[e] = weight;
            skip[e] = edge.skip_op >= 0 ? weight * cell.op_weight(v, edge.edge, edge.skip_op) : 0;
            aux[e] = edge.aux ? weight * cell.aux_weight() : 0;
        }
    }
};

// What the norms of a state's pool on all its out-edges pass back, of some channels, in shared memory: the sum over edges of
// factor * dy, less `mean_dy`, less (z - mean) * mean_dy_xhat.
struct PoolFactors {
    float *factors, *mean_dy, *mean_dy_xhat, *mean;  // (edges, channels); (channels)
    int channels;

    PoolFactors(const StateJob& state, int channels, float* memory) : factors(memory), channels(channels) {
        mean_dy = factors + state.edges * channels;
        mean_dy_xhat = mean_dy + channels;
        mean = mean_dy_xhat + channels;
    }
    // Of a block's mixed channels; a thread a channel.
    __forceinline__ void fill(const DgradPart& part, bool max) const {
        const CellView& cell = part.cell;
        const GradView& g = part.g;
        const StateJob& state = part.state();
        const int v = part.learner(), c0 = part.c0();
        for (int c = threadIdx.x; c < part.mixed(); c += CELL_THREADS) {
            float sum = 0, sum_xhat = 0, first_mean = 0;
            bool first = true;
            for (int e = 0; e < state.edges; e++) {
                const OutEdge& edge = state.edge[e];
                const int op = max ? edge.max_op : edge.avg_op, norm = (max ? edge.max_norm : edge.avg_norm) + c0 + c;
                const float own_mean = cell.mean(v)[norm];
                const float factor = op < 0 ? 0 : cell.term_weight(v, edge.edge, op) * cell.scale(v)[norm];
                const float dy = g.mean_dy[v * cell.norms + norm], dy_xhat = g.mean_dy_xhat[v * cell.norms + norm];
                factors[e * channels + c] = factor;
                if (op < 0) continue;
                if (first) first_mean = own_mean;
                first = false;
                sum += factor * (dy + (first_mean - own_mean) * dy_xhat);
                sum_xhat += factor * dy_xhat;
            }
            mean_dy[c] = sum;
            mean_dy_xhat[c] = sum_xhat;
            mean[c] = first_mean;
        }
    }
};

// Of E out-edges from e0 on, dy of four pixels of a node's channel; past the last edge that of the last.
template <int E>
__forceinline__ void read_edges(const CellView& cell, const GradView& g, const StateJob& state, int image, int e0,
                                int channel, int y, int x, float4 (&dy)[E]) {
    const float* from[E];
#pragma unroll
    for (int i = 0; i < E; i++) {
        const int e = e0 + i < state.edges ? e0 + i : state.edges - 1;
        from[i] = node_gradient(cell, g, state.edge[e].node, image) + channel * cell.pixels() + y * cell.out_W + x;
    }
    read_quads(from, cell.out_W - x, cell.out_W % 4 == 0, dy);
}

// 1 / k, of k pixels of a 3x3 window that are inside.
__forceinline__ float one_of(int k) {
    return k == 9 ? 1.0f / 9 : k == 6 ? 1.0f / 6 : k == 4 ? 1.0f / 4 : k == 3 ? 1.0f / 3 : k == 2 ? 1.0f / 2 : 1;
}

// Each pixel's share of four neighbouring outputs of an average pool.
__forceinline__ float4 shared_out(const float4& dz, int stride, const Target& target, int y, int x) {
    const int rows = inside(y, stride, target.H);
    const auto share = [&](int column) { return one_of(rows * inside(column, stride, target.W)); };
    return make_float4(dz.x * share(x), dz.y * share(x + 1), dz.z * share(x + 2), dz.w * share(x + 3));
}

// Into a block's planes: grad z of a state's pool, of all edges that have it, for its mixed channels; an average pool's share of
// each pixel of its windows.
__forceinline__ void pool_grad_z(const DgradPart& part, bool max, const PoolFactors& factors) {
    constexpr int E = 1;  // edges at a time; two would spill
    const CellView& cell = part.cell;
    const StateJob& state = part.state();
    const PaddedPlane tile = part.target().plane();
    const Tiling& out = part.tiling();
    const StoragePtr saved = cell.saved_of(part.image()) + (max ? state.max_z : state.avg_z);
    for (int q = tile_lane(out); q < out.quads; q += out.lanes) {
        const int y = part.target().out_rows.row(out.y(q)), x = out.x(q);
        for (int c = tile_group(out); c < part.mixed(); c += out.groups) {
            const int channel = part.c0() + c, at[1] = {channel * cell.pixels() + y * cell.out_W + x};
            float4 z[1], total = make_float4(0, 0, 0, 0);
            read_quads(saved, at, cell.out_W - x, cell.out_W % 4 == 0, z);
            for (int e0 = 0; e0 < anew(state.edges); e0 += E) {
                float4 dy[E];
                read_edges(cell, part.g, state, part.image(), e0, channel * cell.partial, y, x, dy);
#pragma unroll
                for (int i = 0; i < E; i++)
                    total += (e0 + i < state.edges ? factors.factors[(e0 + i) * factors.channels + c] : 0) * dy[i];
            }
            const BnFactors all{1, factors.mean_dy[c], factors.mean[c], factors.mean_dy_xhat[c]};
            float4 dz = GradZPlanes::quad(all, total, z[0], x, cell.out_W);
            if (!max) dz = shared_out(dz, state.stride, part.target(), anew(y), anew(x));
            *(float4*)(part.shared + c * tile.floats + tile.at(y, x)) = dz;
        }
    }
}

// Which of its window's pixels the outputs of row y from pixel 2 * byte on chose, four bits each. What is past the plane's
// ends is not to be asked.
__forceinline__ unsigned argmax_row(const unsigned char* argmax, int channel, int H, int W, int y, int byte) {
    const int bytes = argmax_bytes(W), in_y = y < 0 ? 0 : y < H ? y : H - 1;
    const unsigned char* row = argmax + ((long long)channel * H + in_y) * bytes;
    unsigned found = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int at = byte + i < 0 ? 0 : byte + i < bytes ? byte + i : bytes - 1;
        found |= (unsigned)row[at] << 8 * i;
    }
    return found;
}

// What four input pixels of a row receive of the 3x3 windows of stride S that read them: of those that chose them, or of all.
// plane: of grad z, with its border of zeros.
template <int S>
__forceinline__ float4 pool_dgrad(const Target& target, bool chosen, const unsigned char* argmax, int channel, int y,
                                  int x, const float* plane) {
    constexpr int WIDTH = S == 1 ? 6 : 3;  // outputs of a row whose windows read the four
    const PaddedPlane tile = target.plane();
    float sums[4] = {0, 0, 0, 0};
#pragma unroll 1
    for (int i = 0; i < 3; i++) {
        const int up = y + 1 - i;
        if (S == 2 && up % 2) continue;
        const int oy = up / S, ox = S == 1 ? x - 1 : x / 2;
        const float* row = plane + tile.at(oy, ox);
        const unsigned bits =
            chosen ? argmax_row(argmax, channel, target.out_H, target.out_W, oy, S == 1 ? x / 2 - 1 : x / 4) >>
                         (S == 1 ? 4 : 0)
                   : 0;
        float window[WIDTH];
#pragma unroll
        for (int k = 0; k < WIDTH; k++) window[k] = row[k];
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
            for (int j = 0; j < 3; j++) {
                if ((e + 1 - j) % S) continue;
                const int k = (S == 1 ? 1 : 0) + (e + 1 - j) / S;
                if (!chosen || (int)(bits >> 4 * k & 15) == 3 * i + j) sums[e] += window[k];
            }
    }
    return make_float4(sums[0], sums[1], sums[2], sums[3]);
}

// What four pixels of a bypassing channel receive through the 2x2 max-pool, whose outputs' gradients these are.
__forceinline__ float4 unpooled(const DgradPart& part, int channel, int y, int x, const float4& four) {
    const Target& target = part.target();
    const unsigned bits = argmax_row(part.cell.pattern_of(part.image()) + part.state().bypass_argmax,
                                     channel - part.cell.M, target.out_H, target.out_W, y / 2, x / 4);
    const bool upper = x / 2 % 4 != 0;  // which half of the four outputs these pixels belong to
    const float left = upper ? four.z : four.x, right = upper ? four.w : four.y;
    const int first = bits & 15, second = bits >> 4 & 15, row = y % 2 * 2;
    const float4 all = make_float4(first == row ? left : 0, first == row + 1 ? left : 0, second == row ? right : 0,
                                   second == row + 1 ? right : 0);
    return within(all, x, target.W);
}

// sums[r] += what this thread's channels receive through skips of stride 1, or as bypassing channels, in its four pixels.
template <int R> __forceinline__ void add_skips(const DgradPart& part, float4 (&sums)[R]) {
    constexpr int E = R == 1 ? 2 : 1;
    const CellView& cell = part.cell;
    const StateJob& state = part.state();
    const EdgeWeights weights(part.edges);
    const QuadPlace quad = part.in.unpacked();
    const int c = part.channel<R>(), y = quad.y, x = quad.x, image = part.image();
    if (!quad.has || (state.stride == 2 && c + R <= cell.M)) return;
    const bool strided = state.stride == 2;
    const int at_y = strided ? y / 2 : y, at_x = strided ? x / 2 / 4 * 4 : x;
    float4 totals[R];
#pragma unroll
    for (int r = 0; r < R; r++) totals[r] = make_float4(0, 0, 0, 0);
    for (int e0 = 0; e0 < anew(state.edges); e0 += E) {
        float4 dy[R][E];
#pragma unroll
        for (int r = 0; r < R; r++) {
            const int channel = c + r < cell.C ? c + r : cell.C - 1;
            read_edges(cell, part.g, state, image, e0, channel % cell.M * cell.partial + channel / cell.M, at_y, at_x,
                       dy[r]);
        }
#pragma unroll
        for (int i = 0; i < E; i++) {
            const int e = e0 + i;
            if (e >= state.edges) continue;
            const float skip = weights.skip[e], aux = weights.aux[e];
            const int mask = cell.dropout ? state.edge[e].dropout : -1;
#pragma unroll
            for (int r = 0; r < R; r++) {
                if (c + r >= cell.M)
                    totals[r] += weights.whole[e] * dy[r][i];
                else if (strided)
                    continue;
                else if (mask < 0)
                    totals[r] += (skip + aux) * dy[r][i];
                else
                    totals[r] += skip * dropped(cell, mask, dy[r][i], image, c + r, y, x), totals[r] += aux * dy[r][i];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
        if (strided && c + r >= cell.M && c + r < cell.C) totals[r] = unpooled(part, c + r, y, x, totals[r]);
        sums[r] += totals[r];
    }
}

__forceinline__ PoolFactors factors_of(const DgradPart& part, bool max) {
    const int channels = part.at().channels;
    return PoolFactors(part.state(), channels, (float*)part.grad_z() + max * (MOST_OUT_EDGES + 3) * channels);
}

// sums[r] += what this thread's channels receive through one pool, in its four pixels.
template <int R> __forceinline__ void add_pool(const DgradPart& part, bool max, float4 (&sums)[R]) {
    __syncthreads();
    pool_grad_z(part, max, factors_of(part, max));
    __syncthreads();
    const QuadPlace at = part.in.unpacked();
    const Target& target = part.target();
    const int group = tile_group(target.in) * R, floats = target.plane().floats;
    const unsigned char* argmax = part.cell.pattern_of(part.image()) + part.state().argmax;
#pragma unroll 1
    for (int r = 0; r < R && at.has && group + r < part.mixed(); r++) {
        const int c = part.c0() + group + r;
        const float* plane = part.shared + (group + r) * floats;
        add_to(sums, r,
               part.state().stride == 1 ? pool_dgrad<1>(target, max, argmax, c, at.y, at.x, plane)
                                        : pool_dgrad<2>(target, max, argmax, c, at.y, at.x, plane));
    }
}

// sums[r] += the gradient of the cell's output in this thread's channels of a node and its four pixels.
template <int R> __forceinline__ void add_own(const DgradPart& part, float4 (&sums)[R]) {
    const CellView& cell = part.cell;
    const QuadPlace quad = part.in.unpacked();
    const int c = part.channel<R>();
    const long long node = (long long)part.image() * cell.nodes + part.target().index - 2;
    const StoragePtr grad{(void*)(part.g.grad + node * cell.C * cell.pixels()), false};
    int at[R];
    float4 own[R];
#pragma unroll
    for (int r = 0; r < R; r++)
        at[r] = (c + r < cell.C ? c + r : cell.C - 1) * cell.pixels() + quad.y * cell.out_W + quad.x;
    read_quads(grad, at, cell.out_W - quad.x, cell.out_W % 4 == 0, own);
#pragma unroll
    for (int r = 0; r < R; r++) sums[r] += own[r];
}

// sums[r] += what this thread's channels receive past the convolutions, in its four pixels.
template <int R> __forceinline__ void add_pool_skip_dgrad(const DgradPart& part, float4 (&sums)[R]) {
    const auto has = [&](bool max) { return (max ? part.state().max_z : part.state().avg_z) >= 0; };
    __syncthreads();  // before: the convolutions' planes, or another tile's
    EdgeWeights(part.edges).fill(part.cell, part.state(), part.learner());
    for (int max = 1; max >= 0; max--)
        if (has(max)) factors_of(part, max).fill(part, max);
    for (int max = 1; max >= 0; max--)
        if (has(max) && part.mixed() > 0) add_pool(part, max, sums);
    __syncthreads();
    add_skips(part, sums);
    if (part.target().index >= 2) add_own(part, sums);
}

}  // namespace sgl_fast
