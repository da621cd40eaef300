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

// The sums that the norm before a target needs.
__forceinline__ void target_sums(const CellView& cell, const GradView& g, const Target& target, int image, int c0,
                                 int count) {
    const int pixels = target.H * target.W;
    for (int c = c0 + warp(); c < c0 + count; c += CELL_WARPS) {
        const StoragePtr z =
            target.to == To::hidden
                ? cell.saved_of(image) + target.z + (long long)c * pixels
                : StoragePtr{cell.states + (((long long)image * 2 + target.index) * cell.C + c) * pixels, false};
        norm_sums(cell, g, image, target.norm + c, target_plane(cell, g, target, image, c), z, target.H, target.W);
    }
}

// Four pixels of a row, as far as the target's ReLU is open.
__forceinline__ void store_open(const CellView& cell, const Target& target, int image, int channel, int y, int x,
                                const float4& sum, float* plane) {
    const bool relu = channel < target.channels && target.relu_mask >= 0;
    const unsigned bits =
        relu ? mask_quad(cell.pattern_of(image) + target.relu_mask, channel, target.H, target.W, y, x) : 0;
    write_quad(plane + y * target.W, x, target.W, masked(sum, bits));
}

// What comes after a block's part, channels c0 .. end - 1, of a target's gradient: the sums of the norm before it and, if it is
// a node, those of its in-edges, both by the last of `parts` blocks an image.
__forceinline__ void finish_part(const CellView& cell, const GradView& g, const DgradJobs& jobs, const Target& target,
                                 int image, int c0, int end, int parts) {
    const int v = image / cell.N;
    if (target.to == To::state && target.index >= 2 &&
        is_last_block(g.image_arrivals + (target.index - 2) * cell.images() + image, parts))
        node_sums(cell, g, jobs.node, image);
    if (target.norm == NO_NORM) return;
    __syncthreads();
    target_sums(cell, g, target, image, c0, end - c0);
    if (is_last_block(g.arrivals + v * (cell.norms + cell.nodes) + target.norm, cell.N * parts))
        for (int c = threadIdx.x; c < target.all(cell.C); c += CELL_THREADS)
            finish_bn_backward(cell, g, v, target.norm + c, target.H * target.W);
}

}  // namespace sgl_fast
