// What the forward's kernels are told to do, and how a block cuts it. Host and device compile this file alike.
#pragma once

#include "cell_view.h"

namespace sgl_fast {

constexpr int MOST_JOBS = 96;
constexpr int MOST_OUT_EDGES = 16;                     // of a state
constexpr int MOST_IN_EDGES = 17;                      // of a node
constexpr int MOST_TERMS = 12;                         // operations of an edge, and an auxiliary skip
constexpr int POINTWISE_IN_FLOATS = 4 * CELL_THREADS;  // of depthwise results at a time

// How a block's threads share the pixels of a plane, in groups of four along a row, and its channels.
struct Tiling {
    int quads_in_row, quads;  // of a plane
    int lanes, groups;        // threads along quads, a power of two, and along channels

    Tiling(int H, int W, int most = CELL_THREADS) : quads_in_row((W + 3) / 4), quads(H * quads_in_row), lanes(16) {
        while (lanes < quads && lanes < most) lanes *= 2;
        groups = CELL_THREADS / lanes;
    }
};

constexpr int PAD = 4;  // what a dilated 5x5 kernel reaches past the border

// The border of planes that windows read which reach so far past their middle: quads stay aligned.
constexpr int pad_for(int reach) { return reach <= PAD ? PAD : 2 * PAD; }

// A channel in shared memory with a border of zeros, so that no window asks where it is; windows of this stride read it for
// out_H x out_W outputs. A row's right border is the next one's left border.
struct PaddedPlane {
    int pad, row, floats;

    PaddedPlane(int stride, int out_H, int out_W, int pad = PAD)
        : pad(pad), row(stride * ((out_W + 3) / 4 * 4) + pad), floats((stride * out_H + 2 * pad) * row + pad) {}
    // Of the pixel (y, x).
    int at(int y, int x) const { return (y + pad) * row + x + pad; }
};

enum class From { input, state, saved };

struct ConvJob {
    From from;
    int index;      // of the input or state; offset of saved planes
    int from_norm;  // of saved planes
    int in_H, in_W, out_H, out_W;
    int kernel, dilation, stride;
    int first;             // 1: starts at pixel (1, 1), as the second half of a factorised reduction
    int ins, outs, chunk;  // chunk: input channels at a time
    int relu_mask;         // offset of its ReLU's pattern
    int record;            // whether this job is the one that records it
    int depthwise, pointwise;
    int z;  // offset of its result: of an input, in the states; else in saved planes
    int norm;

    int taps() const { return kernel == 1 ? 0 : kernel * kernel; }  // of a depthwise convolution
    int pad() const { return pad_for(kernel / 2 * dilation); }
    PaddedPlane plane() const { return {stride, out_H, out_W, pad()}; }
    int padded_floats() const { return kernel == 1 ? 0 : chunk * plane().floats; }
    // Floats of shared memory where a thread has R outputs.
    int floats(int R) const {
        return POINTWISE_IN_FLOATS + padded_floats() + chunk * (taps() + Tiling(out_H, out_W).groups * R);
    }
};

struct JobGroup {
    int first, count;  // more than one: they read the same planes, in one chunk
};

struct PoolJob {
    int state, stride, out_H, out_W;
    bool max_pool, avg_pool, bypass, normed;  // normed: the 3x3 pools have batch norms
    int max_z, avg_z, bypass_z, argmax, bypass_argmax;
    int max_norm, avg_norm;                                    // of the first out-edge
    int max_edges, avg_edges;                                  // how many share them
    int max_norms[MOST_OUT_EDGES], avg_norms[MOST_OUT_EDGES];  // the norms of all
};

struct PoolJobs {
    PoolJob job[2];
};

struct ConvJobs {
    int groups;  // how many; then come the pools
    int room;    // floats of shared memory
    JobGroup group[MOST_JOBS];
    ConvJob job[MOST_JOBS];
    PoolJobs pools;
};

// One operation's result: saved planes and their norm, or (norm NO_NORM) the state itself.
struct Term {
    int op;  // of op_weights; -1: the auxiliary skip
    int z, norm;
};

struct InEdge {
    int edge, source, bypass_z;  // bypass_z: of pooled bypassing channels; -1: the state's own
    int dropout;                 // mask of the skip; -1: none
    int terms;
    Term term[MOST_TERMS];
};

struct NodeJob {
    int node, edges;
    InEdge edge[MOST_IN_EDGES];
};

}  // namespace sgl_fast
