// A block's part of the gradients in the inputs of convolutions and pools, and where its things lie in shared memory.
#pragma once

#include "target.cuh"

namespace sgl_fast {

// A job, and where its grad z comes from: the same for all threads and steps.
struct BlockJob {
    GradZPlanes grad_z;
    DgradConv conv;
};

// What a block does, in shared memory: after a barrier it is read again rather than kept in registers.
struct DgradTable {
    Target target;
    DgradLayout at;
    int number, c0;  // of the target; of the first channel
    NodePart part;
};

struct DgradPart {
    const CellView& cell;
    const GradView& g;
    const DgradJobs& jobs;
    const DgradTable& table;
    float *shared, *edges;  // edges: weights of a state's, EdgeWeights
    PackedPlace in, out;    // of this thread, in a tile of the target, and in the first one of grad z

    __forceinline__ int image() const { return blockIdx.y; }
    __forceinline__ int learner() const { return image() / cell.N; }
    __forceinline__ int c0() const { return table.c0; }
    __forceinline__ const Target& target() const { return table.target; }
    __forceinline__ const StateJob& state() const { return jobs.state[table.number]; }
    __forceinline__ const DgradLayout& at() const { return table.at; }
    __forceinline__ const Tiling& tiling() const { return table.target.out; }  // of planes of grad z
    __forceinline__ const float* all_weights() const { return cell.weights_of(learner()); }
    __forceinline__ float4* grad_z() const { return (float4*)(shared + at().grad_z); }
    __forceinline__ float* weights() const { return shared + at().weights; }
    // Of a job of a batch.
    __forceinline__ BnFactors* factors(int i) const { return (BnFactors*)(shared + at().factors) + i * target().outs; }
    __forceinline__ float* taps(int i) const { return shared + at().taps + i * at().channels * target().taps; }
    // Of the target's, from its first one on.
    __forceinline__ BlockJob& job(int number) const { return ((BlockJob*)(shared + at().jobs))[number]; }
    // This thread's place in the tile of grad z from quad q0 on.
    __forceinline__ QuadPlace place(int q0) const {
        return (q0 ? PackedPlace(tiling(), target().out_rows, q0) : out).unpacked();
    }
    // Of the first of this thread's R channels.
    template <int R> __forceinline__ int channel() const { return c0() + tile_group(target().in) * R; }
    // Channels that pools read; less than 1: there is none.
    __forceinline__ int mixed() const { return cell.M - c0() < at().channels ? cell.M - c0() : int(at().channels); }
};

}  // namespace sgl_fast
