// Who receives gradients: inputs of convolutions and pools. Where their gradients lie, and what follows once they are there.
#pragma once

#include "padded.cuh"
#include "pool.cuh"
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

enum class To { hidden, state, input };

// What receives: the sum over jobs first_job .. first_job + jobs - 1, where its ReLU is open; a state receives more.
struct Target {
    To to;
    int index;                    // which hidden activation, state or input
    int H, W, out_H, out_W;       // of its planes, and of the slopes
    int channels;                 // with a ReLU and convolutions; a state has C in all
    int first_job, jobs;
    int bits;                     // pattern of its ReLU; -1: none
    int z, norm;                  // the norm that it is the result of; NO_NORM: none
    int pad;                      // of planes of slopes: what the windows of its jobs need
    int band, cores;              // of wide_gradient.cuh: rows of slopes, sixteens of channels at a time

    __host__ __device__ PaddedPlane plane() const { return {1, out_H, out_W, pad}; }
    __host__ __device__ int all(int C) const { return to == To::state ? C : channels; }
};

struct OutEdge {
    int edge, node;
    int skip_op, dropout;         // of a stride-1 skip; -1: none
    int aux;                      // a stride-1 auxiliary skip
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

// Where the gradient of a target's channel lies.
__device__ __forceinline__ float* target_plane(const CellView& cell, const GradView& g, const Target& target, int image, int channel) {
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
__device__ __forceinline__ void target_slopes(const CellView& cell, const GradView& g, const Target& target, int image, int c0, int count) {
    const int pixels = target.H * target.W;
    for (int c = c0 + warp(); c < c0 + count; c += CELL_WARPS) {
        const Numbers z = target.to == To::hidden
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

// What comes after a block's part, channels c0 .. end - 1, of a target's gradient: the sums of the norm before it and, if it is
// a node, those of its in-edges, both by the last of `parts` blocks an image.
__device__ __forceinline__ void finish_part(const CellView& cell, const GradView& g, const SlopeJobs& jobs, const Target& target,
                                            int image, int c0, int end, int parts) {
    const int v = image / cell.N;
    if (target.to == To::state && target.index >= 2 &&
        last_of(g.image_tickets + (target.index - 2) * cell.images() + image, parts))
        node_slopes(cell, g, jobs.node, image);
    if (target.norm == NO_NORM) return;
    __syncthreads();
    target_slopes(cell, g, target, image, c0, end - c0);
    if (last_of(g.tickets + v * (cell.norms + cell.nodes) + target.norm, cell.N * parts))
        finish_slopes(cell, g, v, target.norm, target.all(cell.C), target.H * target.W);
}

}  // namespace sgl_fast
