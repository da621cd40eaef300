// Who receives gradients: inputs of convolutions and pools. Where their gradients lie, and what follows once they are there.
#pragma once

#include "padded.cuh"
#include "pool.cuh"
#include "bn_backward.cuh"

namespace sgl_fast {

// Where the gradient of a target's channel lies.
__forceinline__ float* target_plane(const CellView& cell, const GradView& g, const Target& target, int image,
                                    int channel) {
    const long long pixels = (long long)target.H * target.W;
    const int v = image / cell.N, n = image % cell.N;
    if (target.to == To::hidden)
        return g.hidden + (((long long)image * g.hidden_count + target.index) * cell.M + channel) * pixels;
    if (target.to == To::state && target.index >= 2)
        return g.nodes + (((long long)image * (cell.nodes - 1) + target.index - 2) * cell.C + channel) * pixels;
    if (target.to == To::state && cell.preprocess)
        return g.states + (((long long)image * 2 + target.index) * cell.C + channel) * pixels;
    if (target.index == 0) return g.s[0] + v * cell.learner[0] + n * cell.image[0] + channel * pixels;
    return g.s[1] + v * cell.learner[1] + n * cell.image[1] + channel * pixels;
}

// What the norm before a target read, from its first channel on.
__forceinline__ StoragePtr target_z(const CellView& cell, const Target& target, int image) {
    if (target.to == To::hidden) return cell.saved_of(image) + target.z;
    return {cell.states + ((long long)image * 2 + target.index) * cell.C * target.H * target.W, false};
}

// The patterns of channels c + r of four pixels, four bits each, where a target has a ReLU; else 0.
template <int R>
__forceinline__ unsigned open_bits(const CellView& cell, const Target& target, int image, int c, int y, int x) {
    if (target.relu_mask < 0) return 0;
    const unsigned char* mask = cell.pattern_of(image) + target.relu_mask;
    unsigned found = 0;
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int channel = c + r < target.channels ? c + r : target.channels - 1;
        const unsigned bits = mask_quad(mask, channel, target.H, target.W, y, x);
        found |= (c + r < target.channels ? bits : 0) << 4 * r;
    }
    return found;
}

// Adds to `parts`, of sum_groups, what the norm before a target needs of channels c + r and this thread's four pixels, if
// it has any: dy, and as number R + r dy * (z - mean).
template <int R>
__forceinline__ void add_norm_sums(const CellView& cell, const Target& target, int image, int c, bool has, int y, int x,
                                   const float4 (&dy)[R], bool first, float* parts) {
    const float* means = cell.mean(image / cell.N) + target.norm;
    const int all = target.all(cell.C);
    int at[R];
    float4 z[R];
    float mean[R], sums[2 * R];
#pragma unroll
    for (int r = 0; r < R; r++) {
        const int channel = c + r < all ? c + r : all - 1;
        at[r] = (channel * target.H + y) * target.W + x;
        mean[r] = means[channel];
    }
    read_quads(target_z(cell, target, image), at, target.W - x, target.W % 4 == 0, z);
#pragma unroll
    for (int r = 0; r < R; r++) {
        const float4 off = make_float4(z[r].x - mean[r], z[r].y - mean[r], z[r].z - mean[r], z[r].w - mean[r]);
        sums[r] = has ? total_of(dy[r]) : 0;
        sums[R + r] = has ? dot_of(dy[r], off) : 0;
    }
    sum_groups(target.in, sums, first, parts);
}

// What comes after a block's part of a target's gradient, number `part` of an image: the sums of the norm before it, and if it
// is a node those of its in-edges. sums: as add_norm_sums left them.
template <int R>
__forceinline__ void finish_part(const CellView& cell, const GradView& g, const DgradJobs& jobs, const Target& target,
                                 int image, int part, const float* sums) {
    const PowerOfTwo channels = target.block_channels(R);
    const int v = image / cell.N, all = target.all(cell.C), parts = (all + channels - 1) / channels,
              c0 = part * channels, count = all - c0 < channels ? all - c0 : channels;
    if (target.norm != NO_NORM) {
        __syncthreads();
        for (int c = threadIdx.x; c < count; c += CELL_THREADS) {
            const long long to = (long long)image * cell.norms + target.norm + c0 + c;
            g.partial_dy[to] = total_of_group<2 * R>(target.in, sums, c / R, c % R);
            g.partial_dy_z[to] = total_of_group<2 * R>(target.in, sums, c / R, R + c % R);
        }
        if (is_last_block(g.arrivals + v * (cell.norms + cell.nodes) + target.norm, cell.N * parts))
            finish_bn_backward(cell, g, v, all, target.H * target.W, [&](int i) { return target.norm + i; });
    }
    if (target.to == To::state && target.index >= 2)
        node_sums(cell, g, jobs.node, image, NodePart(cell, part, parts, channels));
}

}  // namespace sgl_fast
