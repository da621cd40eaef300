// One cell's arithmetic laid out in memory: where its weights, norms, saved planes and pattern bits lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sgl_fast {

// In the order of the canonical primitives.
enum class Op { none, max_pool, avg_pool, skip, sep3, sep5, dil3, dil5 };

struct CellShape {
    int c_prev_prev, c_prev, channels, nodes, partial;
    bool reduction, shrink0, aux_skip, preprocess;
    bool pool_norm;                    // a batch norm after each pool
    std::vector<std::vector<Op>> ops;  // of each edge
    int ops_per_edge;
};

// A depthwise and a pointwise convolution and their norm; offsets into weights, norms (channels) and saved planes.
struct Half {
    size_t depthwise, pointwise, norm, z;
};

// Two 1x1 convolutions of stride 2 and their norm.
struct Factorized {
    size_t even, odd, norm, z;
};

struct Mixed {
    Op op;
    int index;             // o of op_weights
    int kernel, dilation;  // of the convolutions
    Half first, second;    // second: of separable convolutions
    size_t middle_bits;    // pattern of the ReLU between the halves
    int middle;            // which of the state's middle gradients
    Factorized reduce;     // of a skip of stride 2
    size_t norm;           // of a pool, one that changes nothing if it has none; its planes belong to the state

    bool conv() const { return op >= Op::sep3; }
    bool separable() const { return op == Op::sep3 || op == Op::sep5; }
    bool pool() const { return op == Op::max_pool || op == Op::avg_pool; }
    size_t last_norm(int stride) const {
        return pool() ? norm : op == Op::skip && stride == 2 ? reduce.norm : separable() ? second.norm : first.norm;
    }
};

struct Edge {
    int index, source, node, stride;
    std::vector<Mixed> ops;  // `none` left out
    bool aux;
    Factorized aux_reduce;  // of an auxiliary skip of stride 2
    int dropout;            // which dropout mask a stride-1 skip has; -1: no skip
};

struct State {
    int H, W, stride, out_H, out_W;  // stride and output size of its out-edges
    std::vector<int> out_edges;
    int middles;                 // separable convolutions on its out-edges
    bool active, max_pool, avg_pool, bypass;
    size_t bits;                 // pattern of its ReLU
    size_t max_z, avg_z, codes;  // pooled planes, the pattern of the max-pool
    size_t max_norm, avg_norm;   // the first out-edge's; the others' are equal in training
    size_t bypass_z, bypass_codes;
};

// An input's way to a state: ReLU, 1x1 convolution (factorised: two of stride 2), norm.
struct Preprocess {
    int channels, H, W;
    bool shrink;
    size_t weight, odd, norm, bits;
};

struct Plan {
    CellShape cell;
    int mixed_channels, H, W, out_H, out_W;
    Preprocess preprocess[2];
    std::vector<State> states;  // all but the last node have out-edges
    std::vector<Edge> edges;
    int dropouts;                              // stride-1 skips, each with a mask
    size_t weights, norms, saved, pattern;     // per learner: floats, channels; per image: floats, bytes
    size_t measured;                           // channels of batch norms; those of the other norms, up to `norms`, follow

    // H x W: size of the first two states
    Plan(const CellShape& cell, int H, int W);

    size_t in_pixels() const { return size_t(H) * W; }
    size_t out_pixels() const { return size_t(out_H) * out_W; }
};

// Bytes of a row of pattern bits: one bit an element.
inline size_t bit_row(int W) { return (W + 7) / 8; }
// Bytes of a row of max-pool codes: four bits an output.
inline size_t code_row(int W) { return (W + 1) / 2; }

}  // namespace sgl_fast
