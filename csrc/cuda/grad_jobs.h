// What the backward's kernels are told to do, and how a block cuts it. Host and device compile this file alike.
#pragma once

#include "jobs.h"

namespace sgl_fast {

constexpr int MOST_DGRAD_JOBS = 80;
constexpr int MOST_TARGETS = 40;
constexpr int MOST_WGRAD_JOBS = 128;
constexpr int MOST_WGRAD_CHUNKS = 512;
constexpr int MOST_CELL_EDGES = 64;

constexpr int BLOCK_JOB_FLOATS = 20;  // of a job in shared memory
constexpr int INPUT_R = 8;            // channels of a thread, in the gradient of an input
constexpr int INPUT_ITEMS = 2;        // quads of grad z that a thread brings at a time
constexpr int INPUT_LANES = 64;       // quads of a tile, at most

enum class Reader { node, hidden, state };

// grad z: what the input z of a batch norm receives. The norm's output is read by `reader`, times a weight.
struct GradZ {
    Reader reader;
    int index;    // of the node, the hidden activation, the state
    int channel;  // of the reader, the first one
    int z, norm;
    int edge, op;  // of the weight; edge -1: 1; op -1: the auxiliary skip
};

// Batch norm's backward in one channel: dz = factor * (dy - mean_dy - (z - mean) * mean_dy_xhat).
struct BnFactors {
    float factor, dy_less, mean, z_less;  // what factor * dy and z - mean are too much by

    BnFactors(float factor, float mean_dy, float mean, float mean_dy_xhat)
        : factor(factor), dy_less(factor * mean_dy), mean(mean), z_less(factor * mean_dy_xhat) {}
    float dz(float dy, float z) const { return factor * dy - dy_less - (z - mean) * z_less; }
};

// The way back through one convolution; the rest is as in ConvJob.
struct DgradConv {
    int outs;
    int kernel, dilation, stride, first;
    int depthwise, pointwise;
};

struct DgradJob {
    GradZ grad_z;
    DgradConv conv;
};

enum class To { hidden, state, input };

// What receives: the sum over jobs first_job .. first_job + jobs - 1, where its ReLU is open; a state receives more.
struct Target {
    To to;
    int index;               // which hidden activation, state or input
    int H, W, out_H, out_W;  // of its planes, and of grad z
    int channels;            // with a ReLU and convolutions; a state has C in all
    int first_job, jobs;
    int relu_mask;           // pattern of its ReLU; -1: none
    int z, norm;             // the norm that it is the result of; NO_NORM: none
    int pad;                 // of planes of grad z: what the windows of its jobs need
    int outs = 0, taps = 0;  // of its jobs, at most
    Tiling in{H, W}, out{out_H, out_W, to == To::input ? INPUT_LANES : CELL_THREADS};
    RowOrder in_rows{H, in.quads_in_row}, out_rows{out_H, out.quads_in_row};
    Divisor parts{(channels + INPUT_R * out.groups - 1) / (INPUT_R * out.groups)};  // of an input's channels

    PaddedPlane plane() const { return {1, out_H, out_W, pad}; }
    int all(int C) const { return to == To::state ? C : channels; }
};

// Where things lie in shared memory, in floats, where a thread has R channels, 1 or 2.
struct DgradLayout {
    PowerOfTwo channels;  // of a block
    int steps;            // outputs at a time
    int own;              // channels of a thread whose 1x1 convolution it undoes
    int batch;            // jobs whose factors and taps are there at a time
    PowerOfTwo threads;   // that bring those of a job
    int grad_z, weights;  // (steps, lanes), in quads; (steps, channels); then what pools pass back. Planes come first
    int factors, taps;    // BnFactors (batch, outs); (batch, channels, most taps)
    int jobs;             // of the target
    int floats;

    DgradLayout() = default;
    // A batch of as many jobs as `room` floats hold, one at least.
    DgradLayout(const Target& target, int R, int room)
        : channels(R * target.in.groups), steps(target.out.groups * R),
          own(channels > target.out.groups ? channels / target.out.groups : 1),
          grad_z(channels * target.plane().floats), weights(grad_z + 4 * R * CELL_THREADS),
          factors(weights + (steps * channels + 3) / 4 * 4) {
        const auto hold = [&](int count) {
            batch = count;
            taps = factors + 4 * batch * target.outs;
            jobs = (taps + batch * channels * target.taps + 3) / 4 * 4;
            floats = jobs + BLOCK_JOB_FLOATS * target.jobs;
        };
        hold(target.jobs > 1 ? target.jobs : 1);
        while (batch > 1 && floats > room) hold(batch - 1);
        while (2 * threads * batch <= CELL_THREADS) threads = PowerOfTwo(2 * threads);
    }
};

// How blocks cut the gradient of an input: pixels of grad z, channels of the input, outputs of its convolutions.
struct InputTile {
    const Tiling& tiling;

    explicit InputTile(const Target& target) : tiling(target.out) {}
    PowerOfTwo channels() const { return PowerOfTwo(INPUT_R * tiling.groups, 3 + tiling.groups.log); }
    int steps() const { return tiling.groups * INPUT_ITEMS; }  // outputs at a time
    int blocks(const Target& target) const { return target.parts * ((tiling.quads + tiling.lanes - 1) / tiling.lanes); }
    // Of shared memory, for at most `outs` outputs.
    int floats(int outs) const { return steps() * (4 * tiling.lanes + channels()) + 4 * outs; }
};

struct OutEdge {
    int edge, node;
    int skip_op, dropout;  // of a stride-1 skip; -1: none
    int aux;               // a stride-1 auxiliary skip
    int max_op, max_norm, avg_op, avg_norm;
};

// What a state receives past the convolutions.
struct StateJob {
    int stride, edges, max_z, avg_z, argmax, bypass_argmax;
    OutEdge edge[MOST_OUT_EDGES];
};

struct DgradJobs {
    DgradJob job[MOST_DGRAD_JOBS];
    Target target[MOST_TARGETS];
    DgradLayout layout[MOST_TARGETS];
    Divisor targets;
    StateJob state[2];  // of the targets that are states
    NodeJob node;       // which a target is, and whose sums come next
};

constexpr int SIDE_OUTS = 4;  // outputs, and inputs, of whose products a thread has the sums
constexpr int SIDE_INS = 1;
constexpr int SIDES = SIDE_OUTS * SIDE_INS;
constexpr int MOST_TAPS = 25;  // whose sums a thread has, of a depthwise convolution
constexpr int ROWS_OF_7 = 3;   // the taps of 7 x 7 are shared by threads with three, three and one row
constexpr int PARTS_OF_7 = 3;
constexpr int SUM_STEP = CELL_THREADS + 1;  // from a thread's sum to its next in shared memory, in another bank
constexpr int WMMA = 16;                    // rows and columns of a matrix of tensor cores
constexpr int SWEEP = 2;                    // WMMA outputs whose sums a warp has in registers; 1 beside those of taps
constexpr int LANE_TAPS = 15;               // that a lane sums; the two lanes of a channel share its rows

struct WgradJob;

// Where things lie in shared memory, in floats. At the end, all of it is for the threads' sums.
struct WgradLayout {
    int grad_z, pointwise_in;  // (outs, lanes), (ins, lanes), in quads
    int factors;               // BnFactors (outs)
    int padded;                // of the chunk
    int taps, pointwise;       // weights of the chunk: depthwise, 1x1 (chunk, outs)
    int floats;

    WgradLayout() = default;
    explicit WgradLayout(const WgradJob& job);

  private:
    int take(int count) {
        floats += count;
        return floats - count;
    }
};

// The same for tensor cores: two tiles a warp, then what the warps share.
struct TensorCoreLayout {
    int weights;  // (outs, chunk), in two parts of float16
    int factors, padded, taps, floats;

    TensorCoreLayout() = default;
    explicit TensorCoreLayout(const WgradJob& job);
};

// Gradients of a convolution's weights. conv: how the forward computed it, its chunk that of the gradient.
struct WgradJob {
    ConvJob conv;
    GradZ grad_z;
    int band;                                         // of tensor cores: rows of outputs at a time; else 0
    Tiling tiling;                                    // of outputs; lanes: quads of a tile
    RowOrder rows;                                    // of them, without tensor cores
    PowerOfTwo pointwise_threads, depthwise_threads;  // that share an item
    Divisor in_items;                                 // of the chunk
    // Of tensor cores: sixteens of channels of the chunk; warps with different channels or outputs, the others have other
    // tiles.
    PowerOfTwo sixteens, slots;
    WgradLayout at;  // without tensor cores
    TensorCoreLayout core;

    int chunks() const { return (conv.ins + conv.chunk - 1) / conv.chunk; }
    int outs() const { return (conv.outs + SIDE_OUTS - 1) / SIDE_OUTS * SIDE_OUTS; }
    int ins() const { return (conv.chunk + SIDE_INS - 1) / SIDE_INS * SIDE_INS; }
    int sweep() const { return conv.taps ? 1 : SWEEP; }
    int tap_parts() const { return conv.kernel == 7 ? PARTS_OF_7 : 1; }
    int part_taps() const { return conv.kernel == 7 ? ROWS_OF_7 * 7 : conv.taps; }
    // Of which a thread has the sums: SIDE_OUTS x SIDE_INS 1x1 weights, a part of a channel's taps.
    int pointwise_items() const { return outs() / SIDE_OUTS * (ins() / SIDE_INS); }
    int depthwise_items() const { return conv.chunk * tap_parts(); }
    int channel_of(int depthwise_item) const { return conv.kernel == 7 ? depthwise_item / PARTS_OF_7 : depthwise_item; }
    // Of tensor cores: neighbours' same pixels are in other banks for four channels and two quads.
    PaddedPlane band_plane() const {
        PaddedPlane plane(conv.stride, band, conv.out_W, conv.pad());
        plane.floats = (plane.floats + 23) / 32 * 32 + 8;
        return plane;
    }
};

inline WgradLayout::WgradLayout(const WgradJob& job) : floats(0) {
    grad_z = take(4 * job.outs() * job.tiling.lanes);
    pointwise_in = take(4 * job.ins() * job.tiling.lanes);
    factors = take(4 * job.outs());
    padded = take(job.conv.padded_floats());
    taps = take(job.conv.chunk * job.conv.taps);
    pointwise = take(job.conv.taps ? job.conv.outs * job.conv.chunk : 0);
    const int sums = job.part_taps() > SIDES ? job.part_taps() : SIDES;
    if (floats < sums * SUM_STEP) floats = sums * SUM_STEP;
}

inline TensorCoreLayout::TensorCoreLayout(const WgradJob& job) {
    const ConvJob& conv = job.conv;
    weights = 2 * CELL_WARPS * WMMA * WMMA;
    factors = weights + conv.outs * conv.chunk;
    padded = factors + 4 * conv.outs;
    taps = padded + (conv.taps ? conv.chunk * job.band_plane().floats : 0);
    const int sums = conv.taps ? CELL_THREADS * LANE_TAPS : 0, all = taps + conv.chunk * conv.taps;
    floats = all > sums ? all : sums;
}

// What a block does: of which job, which chunk of its input channels.
struct WgradChunk {
    short job, number;
};

struct WgradJobs {
    WgradChunk chunk[MOST_WGRAD_CHUNKS];
    WgradJob job[MOST_WGRAD_JOBS];
};

struct AlphaBetaEdge {
    int terms;
    struct {
        int op, norm;
    } term[MOST_TERMS];
};

struct AlphaBetaJob {
    AlphaBetaEdge edge[MOST_CELL_EDGES];
};

}  // namespace sgl_fast
