// What follows once a block's part of a target's gradient is there.
#pragma once

#include "dgrad_part.cuh"

namespace sgl_fast {

// Adds to `parts`, of sum_groups, what the norm before a target needs of this thread's channels and its four pixels, if
// it has any: dy, and as number R + r dy * (z - mean).
template <int R> __forceinline__ void add_norm_sums(const DgradPart& part, const float4 (&dy)[R], float* parts) {
    const Target& target = part.target();
    const QuadPlace quad = part.in.unpacked();
    const float* means = part.cell.mean(part.learner()) + target.norm;
    const int c = part.channel<R>(), all = target.all(part.cell.C);
    int at[R];
    float4 z[R];
    float mean[R], sums[2 * R];
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int channel = c + r < all ? c + r : all - 1;
        at[r] = (channel * target.H + quad.y) * target.W + quad.x;
        mean[r] = means[channel];
    }
    read_quads(target_z(part.cell, target, part.image()), at, target.W - quad.x, target.W % 4 == 0, z);
#pragma unroll
    for (int r = 0; r < R; r++) {
        const float4 off = make_float4(z[r].x - mean[r], z[r].y - mean[r], z[r].z - mean[r], z[r].w - mean[r]);
        sums[r] = quad.has ? total_of(dy[r]) : 0;
        sums[R + r] = quad.has ? dot_of(dy[r], off) : 0;
    }
    sum_groups(target.in, sums, parts);
}

// What comes after a block's part of a target's gradient: the sums of the norm before it, and if it is a node those of its
// in-edges. sums: as add_norm_sums left them.
template <int R> __forceinline__ void finish_part(const DgradPart& part, const float* sums) {
    const CellView& cell = part.cell;
    const GradView& g = part.g;
    const Target& target = part.target();
    if (target.norm != NO_NORM) {
        __syncthreads();
        const int all = target.all(cell.C), left = all - part.c0();
        for (int c = threadIdx.x; c < left && c < part.at().channels; c += CELL_THREADS) {
            const long long to = (long long)part.image() * cell.norms + target.norm + part.c0() + c;
            g.partial_dy[to] = total_of_group<2 * R>(target.in, sums, c / R, c % R);
            g.partial_dy_z[to] = total_of_group<2 * R>(target.in, sums, c / R, R + c % R);
        }
        const int v = part.learner();
        if (is_last_block(g.arrivals + v * (cell.norms + cell.nodes) + target.norm, cell.N * part.table.part.parts))
            finish_bn_backward(cell, g, v, all, target.H * target.W, [&](int i) { return target.norm + i; });
    }
    if (target.to == To::state && target.index >= 2) node_sums(cell, g, part.jobs.node, part.image(), part.table.part);
}

}  // namespace sgl_fast
