// What the forward's kernels are told to do, and how a block cuts it. Host and device compile this file alike.
#pragma once

#include "cell_view.h"

namespace sgl_fast {

constexpr int MOST_JOBS = 96;
constexpr int MOST_OUT_EDGES = 16;  // of a state
constexpr int MOST_IN_EDGES = 17;   // of a node
constexpr int MOST_TERMS = 12;      // operations of an edge, and an auxiliary skip
constexpr int GROUP_JOBS = 4;       // of a block: more would leave multiprocessors without one

constexpr int PAD = 4;  // what a dilated 5x5 kernel reaches past the border

// The border of planes that windows read which reach so far past their middle: quads stay aligned.
constexpr int pad_for(int reach) { return reach <= PAD ? PAD : 2 * PAD; }

// A channel in shared memory with a border of zeros, so that no window asks where it is; windows of this stride read it for
// out_H x out_W outputs. A row's right border is the next one's left border.
struct PaddedPlane {
    int pad, row, floats;

    PaddedPlane() : PaddedPlane(0, 0, 0) {}
    PaddedPlane(int stride, int out_H, int out_W, int pad = PAD)
        : pad(pad), row(stride * ((out_W + 3) / 4 * 4) + pad), floats((stride * out_H + 2 * pad) * row + pad) {}
    // Of the pixel (y, x).
    int at(int y, int x) const { return (y + pad) * row + x + pad; }
    // Of planes that share borders, the lower one of each being the upper one of the next: from one to the next, and of all.
    int next() const { return floats - pad * row - pad; }
    int floats_of(int count) const { return count * next() + floats - next(); }
};

// Mean and sum of squared deviations of some numbers.
struct Moments {
    float count, mean, deviations;
};

constexpr int MOMENTS = sizeof(Moments) / sizeof(float);

// Of a plane or a tile that so many threads share: each warp has statistics of its own.
constexpr int parts_of(int lanes) { return lanes > WARP ? lanes / WARP : 1; }

// Floats of both pools' moments in M channels.
inline int pool_moments(int M, const Tiling& out) { return 2 * M * parts_of(out.lanes) * MOMENTS; }

enum class From { input, state, saved };

struct ConvJob {
    From from;
    int index;      // of the input or state; offset of saved planes
    int from_norm;  // of saved planes
    int in_H, in_W, out_H, out_W;
    Tiling in;           // of what it reads
    OctetTiling octets;  // of the same
    int kernel, dilation, stride;
    Divisor taps;  // of a depthwise convolution; 0: none
    int first;     // 1: starts at pixel (1, 1), as the second half of a factorised reduction
    int ins;
    Divisor outs, chunk;  // chunk: input channels at a time
    int relu_mask;        // offset of its ReLU's pattern
    int record;           // whether this job is the one that records it
    int depthwise, pointwise;
    int z;  // offset of its result: of an input, in the states; else in saved planes
    int norm;
    int first_tap;  // in shared memory, of a channel's taps of all jobs of its group

    int pad() const { return pad_for(kernel / 2 * dilation); }
    PaddedPlane plane() const { return {stride, out_H, out_W, pad()}; }
    int padded_floats() const { return kernel == 1 ? 0 : chunk * plane().floats; }
};

// Rows of a depthwise convolution's outputs that a thread has where it has R outputs of a 1x1 convolution.
constexpr int strip_of(int R) { return R == 4 ? 4 : 2; }

constexpr int HIDDEN_QUADS = 2 * CELL_THREADS;  // of shared memory: what depthwise convolutions hand on at a time

// Strips of `strip` rows, `apart` rows from one to the next, that cover so many.
inline int strips_of(int rows, int strip, int apart) {
    const int strips = (rows + strip * apart - 1) / (strip * apart) * apart;
    return strips < rows ? strips : rows;
}

// How a block's threads share `jobs` jobs, at most GROUP_JOBS: a power of two has each.
inline PowerOfTwo threads_of_job(int jobs) {
    const int halves = jobs > 2 ? 2 : jobs - 1;
    return PowerOfTwo(CELL_THREADS >> halves, 8 - halves);
}

// How a block of a group of jobs cuts it, and where things lie in shared memory, in floats, where a thread has R outputs.
// Planes come first.
struct ConvLayout {
    Tiling tiling;        // of results
    Divisor slices;       // of R outputs of a job
    int batch;            // jobs at a time
    int step, part;       // their input channels at a time; of these, in shared memory at a time
    int rows;             // of a tile
    Divisor strips[2];    // of rows of a tile's depthwise results, in quads; windows' rows one or two apart
    PaddedPlane plane;    // of what windows read; planes share borders
    int planes;           // of a job, if each has its own, else 0
    int hidden;           // what 1x1 convolutions read: (batch, part, lanes), in quads
    int taps, pointwise;  // weights: (chunk, taps of a job), job after job; (count, slices, chunk, R)
    int moments;          // Moments: (tiling.groups, R, parts)
    int parts, floats;    // parts: of a plane, whose warps add up their own statistics

    ConvLayout() = default;
    // own: whether each of `count` jobs like this one has planes of its own; all_taps: of a channel, in floats.
    ConvLayout(const ConvJob& job, int count, bool own, int all_taps, int R) {
        tiling = Tiling(job.out_H, job.out_W);
        const int lanes = tiling.lanes, groups = tiling.groups;
        slices = Divisor((job.outs + R - 1) / R);
        batch = groups / slices > 1 ? groups / slices : 1;
        if (batch > count) batch = count;
        rows = lanes / tiling.quads_in_row;
        if (rows > job.out_H) rows = job.out_H;
        step = job.chunk;
        for (int apart = 1; apart <= 2; apart++) {
            const Divisor all(strips_of(rows, strip_of(R), apart) * tiling.quads_in_row);
            strips[apart - 1] = all;
            if (step * all > threads_of_job(batch)) step = threads_of_job(batch) / all;
        }
        part = HIDDEN_QUADS / (batch * lanes);
        if (part > step) part = step;
        parts = parts_of(lanes);
        plane = job.plane();
        const int padded = job.kernel == 1 ? 0 : plane.floats_of(job.chunk);
        planes = own ? padded : 0;
        hidden = (own ? count : 1) * padded;
        taps = hidden + 4 * batch * part * lanes;
        pointwise = (taps + job.chunk * all_taps + 3) / 4 * 4;
        moments = pointwise + count * slices * R * job.chunk;
        floats = moments + groups * R * parts * MOMENTS;
    }
};

// Jobs of a block: they differ in kernels, weights, results, and if layout.planes in the planes that they read.
struct JobGroup {
    int first, count, taps;  // taps: of a channel, of all jobs, in floats
    ConvLayout layout;
};

constexpr int INPUT_OUTS = 4;   // of a thread, in the convolutions of a cell's inputs
constexpr int INPUT_QUADS = 4;  // that a thread brings at a time

// How blocks cut a 1x1 convolution of an input: pixels, and outputs.
struct ConvInputTile {
    Tiling tiling;  // lanes: quads of a tile
    Divisor tiles;  // of a plane

    ConvInputTile() = default;
    explicit ConvInputTile(const ConvJob& job) {
        int most = CELL_THREADS;
        while (most > 16 && CELL_THREADS / most * INPUT_OUTS < job.outs) most /= 2;
        tiling = Tiling(job.out_H, job.out_W, most);
        tiles = Divisor((tiling.quads + tiling.lanes - 1) / tiling.lanes);
    }
    int outs() const { return tiling.groups * INPUT_OUTS; }
    // Input channels at a time.
    PowerOfTwo step() const { return PowerOfTwo(INPUT_QUADS * tiling.groups, 2 + tiling.groups.log); }
    int blocks(const ConvJob& job) const { return tiles * ((job.outs + outs() - 1) / outs()); }
    int parts() const { return parts_of(tiling.lanes); }
    // Of shared memory.
    int floats() const { return step() * (4 * tiling.lanes + outs()) + outs() * parts() * MOMENTS; }
    // Pixels of an image before this quad.
    int pixels(int quad, int W) const {
        const int q = quad < tiling.quads ? quad : tiling.quads.of, x = tiling.x(q);
        return tiling.y(q) * W + (x < W ? x : W);
    }
};

constexpr int MOST_INPUT_JOBS = 4;  // two of an input that is twice as large

struct ConvInputJob {
    ConvJob conv;
    ConvInputTile tile;
};

struct ConvInputJobs {
    ConvInputJob job[MOST_INPUT_JOBS];
};

struct PoolJob {
    int state, stride, out_H, out_W;
    OctetTiling octets;                       // of the state
    int chunk;                                // channels at a time that fit
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
    int terms, normed;           // those with norms come first
    Term term[MOST_TERMS];
};

struct NodeJob {
    int node;
    Divisor edges, terms;  // terms: of an edge, at most
    InEdge edge[MOST_IN_EDGES];
};

}  // namespace sgl_fast
