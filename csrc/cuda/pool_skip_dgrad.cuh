// What a state receives past the convolutions: from pools, skips and bypassing channels.
#pragma once

#include "target.cuh"

namespace sgl_fast {

// Into planes[c - c0]: grad z of a state's pool, of all edges that have it, for its mixed channels among c0 .. c0 + count
// - 1; an average pool's share of each pixel of its windows.
__forceinline__ void pool_grad_z(const CellView& cell, const GradView& g, const Target& target, const StateJob& state,
                                 bool max, int image, int c0, int count, float* planes) {
    const PaddedPlane tile = target.plane();
    const Tiling out(target.out_H, target.out_W);
    for (int i = threadIdx.x; i < count * out.quads; i += CELL_THREADS) {
        const int c = i / out.quads, q = i % out.quads, y = q / out.quads_in_row, x = q % out.quads_in_row * 4;
        float4 total = make_float4(0, 0, 0, 0);
        for (int e = 0; e < state.edges; e++) {
            const OutEdge& edge = state.edge[e];
            const int op = max ? edge.max_op : edge.avg_op;
            if (op < 0) continue;
            const GradZ grad_z{
                Reader::node, edge.node, 0, max ? state.max_z : state.avg_z, max ? edge.max_norm : edge.avg_norm,
                edge.edge,    op};
            const GradZPlanes from(cell, g, grad_z, image);
            total += from.quad(from.factors(cell, g, c0 + c), c0 + c, y, x, target.out_W);
        }
        const auto share = [&](int column) {
            return max ? 1 : inside(y, state.stride, target.H) * inside(column, state.stride, target.W);
        };
        *(float4*)(planes + c * tile.floats + tile.at(y, x)) =
            make_float4(total.x / share(x), total.y / share(x + 1), total.z / share(x + 2), total.w / share(x + 3));
    }
}

// What input pixel (y, x) receives of the 3x3 windows that read it: of those that chose it, or of all. plane: of grad z, with
// its border of zeros.
__forceinline__ float pool_dgrad(const Target& target, int stride, bool chosen, const unsigned char* argmax,
                                 int channel, int y, int x, const float* plane) {
    const PaddedPlane tile = target.plane();
    const int odd = stride - 1;
    float total = 0;
#pragma unroll
    for (int t = 0; t < 9; t++) {
        const int up = y + 1 - t / 3, left = x + 1 - t % 3, oy = up >> odd, ox = left >> odd;
        if ((up | left) & odd || oy < 0 || ox < 0 || oy >= target.out_H || ox >= target.out_W) continue;
        if (chosen && argmax_at(argmax, channel, target.out_H, target.out_W, oy, ox) != t) continue;
        total += plane[tile.at(oy, ox)];
    }
    return total;
}

// What four pixels of mixed channel m receive through stride-1 skips.
__forceinline__ float4 skip_dgrad(const CellView& cell, const GradView& g, const StateJob& state, int image, int m,
                                  int y, int x) {
    const int v = image / cell.N;
    float4 total = make_float4(0, 0, 0, 0);
    for (int e = 0; e < state.edges; e++) {
        const OutEdge& edge = state.edge[e];
        if (edge.skip_op < 0 && !edge.aux) continue;
        const float* plane =
            node_gradient(cell, g, edge.node, image) + (long long)m * (cell.C / cell.M) * cell.pixels();
        const float4 dy = cell.edge_weight(v, edge.edge) * read_quad(plane + y * cell.out_W, x, cell.out_W);
        if (edge.skip_op >= 0)
            total += cell.op_weight(v, edge.edge, edge.skip_op) * dropped(cell, edge.dropout, dy, image, m, y, x);
        if (edge.aux) total += cell.aux_weight() * dy;
    }
    return total;
}

// The gradient of a bypassing channel's outputs, four of them.
__forceinline__ float4 bypass_grad(const CellView& cell, const GradView& g, const StateJob& state, int image,
                                   int channel, int y, int x) {
    const int at = channel % cell.M * (cell.C / cell.M) + channel / cell.M;  // in a node
    float4 total = make_float4(0, 0, 0, 0);
    for (int e = 0; e < state.edges; e++) {
        const float* plane = node_gradient(cell, g, state.edge[e].node, image) + (long long)at * cell.pixels();
        total +=
            cell.edge_weight(image / cell.N, state.edge[e].edge) * read_quad(plane + y * cell.out_W, x, cell.out_W);
    }
    return total;
}

// What four pixels of a bypassing channel receive: through the 2x2 max-pool, if the stride is 2.
__forceinline__ float4 bypass_dgrad(const CellView& cell, const GradView& g, const Target& target,
                                    const StateJob& state, int image, int channel, int y, int x) {
    if (state.stride == 1) return bypass_grad(cell, g, state, image, channel, y, x);
    const unsigned char* argmax = cell.pattern_of(image) + state.bypass_argmax;
    const float4 four = bypass_grad(cell, g, state, image, channel, y / 2, x / 2 / 4 * 4);
    const auto chosen = [&](int column) {
        return column < target.W && argmax_at(argmax, channel - cell.M, target.out_H, target.out_W, y / 2,
                                              column / 2) == y % 2 * 2 + column % 2;
    };
    const bool upper = x / 2 % 4 != 0;  // which half of the four outputs these pixels belong to
    const float left = upper ? four.z : four.x, right = upper ? four.w : four.y;
    return make_float4(chosen(x) ? left : 0, chosen(x + 1) ? left : 0, chosen(x + 2) ? right : 0,
                       chosen(x + 3) ? right : 0);
}

// Adds quad(c, y, x) to the gradient of channels c0 .. c0 + count - 1; a pixel is one thread's, always the same one.
template <class Quad>
__forceinline__ void add_quads(const CellView& cell, const GradView& g, const Target& target, int image, int c0,
                               int count, const Quad& quad) {
    const Tiling tiling(target.H, target.W);
    for (int i = threadIdx.x; i < count * tiling.quads; i += CELL_THREADS) {
        const int c = c0 + i / tiling.quads, q = i % tiling.quads, y = q / tiling.quads_in_row,
                  x = q % tiling.quads_in_row * 4;
        float* row = target_plane(cell, g, target, image, c) + y * target.W;
        float4 sum = read_quad(row, x, target.W);
        sum += quad(c, y, x);
        write_quad(row, x, target.W, sum);
    }
}

// Adds what a state receives past the convolutions to its channels c0 .. c0 + count - 1.
__forceinline__ void add_pool_skip_dgrad(const CellView& cell, const GradView& g, const Target& target,
                                         const StateJob& state, int image, int c0, int count, float* planes) {
    const PaddedPlane tile = target.plane();
    const int here = cell.M - c0 < count ? cell.M - c0 : count;
    for (int max = 1; max >= 0; max--) {
        if ((max ? state.max_z : state.avg_z) < 0 || here <= 0) continue;
        __syncthreads();
        pool_grad_z(cell, g, target, state, max, image, c0, here, planes);
        __syncthreads();
        add_quads(cell, g, target, image, c0, here, [&](int c, int y, int x) {
            const unsigned char* argmax = cell.pattern_of(image) + state.argmax;
            const auto pixel = [&](int column) {
                return pool_dgrad(target, state.stride, max, argmax, c, y, column, planes + (c - c0) * tile.floats);
            };
            return make_float4(pixel(x), pixel(x + 1), pixel(x + 2), pixel(x + 3));
        });
    }
    add_quads(cell, g, target, image, c0, count, [&](int c, int y, int x) {
        float4 total = make_float4(0, 0, 0, 0);
        if (c >= cell.M) total = bypass_dgrad(cell, g, target, state, image, c, y, x);
        if (c < cell.M && state.stride == 1) total = skip_dgrad(cell, g, state, image, c, y, x);
        const long long plane = ((long long)image * cell.nodes + target.index - 2) * cell.C + c;
        if (target.index >= 2) total += read_quad(g.grad + plane * cell.pixels() + y * cell.out_W, x, cell.out_W);
        return total;
    });
}

}  // namespace sgl_fast
