// A cell as the kernels see it: sizes, strides, where tensors lie. Offsets are those of csrc/program.h. Host and device compile
// this file alike.
#pragma once

#include "tiling.h"

namespace sgl_fast {

constexpr int NO_NORM = -1;

// An array of float32 or of float16.
struct StoragePtr {
    void* data;
    bool half;

    StoragePtr operator+(long long n) const { return {(char*)data + (half ? 2 * n : 4 * n), half}; }
};

// Images are numbered n + N * v. Strides and offsets count floats, of the pattern bytes.
struct CellView {
    int V, C, nodes;
    Divisor N, M;             // M of the C channels go through mixed operations
    Divisor partial, others;  // C / M: every partial-th channel of a node is a mixed one; how many others follow it
    int H, W, out_H, out_W;
    Tiling tiling;  // of a node's planes
    bool preprocess, training, replay;
    const float* s[2];
    long long learner[2], image[2];
    const float* weights;
    long long weights_row;
    const float *op_weights, *edge_weights;
    int edges, ops_per_edge;
    const float *skip_beta, *dropout_scale;  // read by the kernels: a graph's replays find new ones there
    const unsigned char* dropout;
    float *states, *stats, *out;
    StoragePtr saved;  // results of convolutions and pools, before their norms
    unsigned char* pattern;
    long long saved_size, pattern_bytes;  // of an image
    int norms, measured,
        state_norm[2];  // of which `measured` take statistics; state_norm: of the preprocessing's outputs
    float *partial_mean, *partial_deviations;  // (V, N, norms): of an image
    unsigned* arrivals;                        // (V, norms), 0 before the call

    int images() const { return V * N; }
    int pixels() const { return out_H * out_W; }
    const float* mean(int v) const { return stats + (long long)v * 3 * norms; }
    const float* scale(int v) const { return mean(v) + norms; }
    StoragePtr saved_of(int image_) const { return saved + image_ * saved_size; }
    unsigned char* pattern_of(int image_) const { return pattern + image_ * pattern_bytes; }
    const float* weights_of(int v) const { return weights + v * weights_row; }
    float edge_weight(int v, int edge) const { return edge_weights ? edge_weights[v * edges + edge] : 1.0f; }
    float aux_weight() const { return skip_beta ? *skip_beta : 1.0f; }
    // op -1: the auxiliary skip
    float op_weight(int v, int edge, int op) const {
        return op < 0 ? aux_weight() : op_weights[(v * edges + edge) * ops_per_edge + op];
    }
    float term_weight(int v, int edge, int op) const { return edge_weight(v, edge) * op_weight(v, edge, op); }
};

// Memory of a backward.
struct GradView {
    const float* grad;  // (V, N, nodes, C, pixels): of the output
    float* nodes;       // (V, N, nodes - 1, C, pixels): of the nodes but the last
    float* states;      // (V, N, 2, C, H, W): of the preprocessed inputs
    float* hidden;      // (V, N, hidden activations, M, pixels): of what second halves of separable convolutions read
    int hidden_count;
    float* s[2];  // of the inputs, strides as theirs; null where not wanted
    float *mean_dy, *mean_dy_xhat,
        *dot;  // (V, norms): mean of dy; mean of dy * (z - mean) / variance; sum of dy * normalised z
    float *partial_dy, *partial_dy_z;  // (V, N, norms): an image's sums of dy and of dy * (z - mean)
    float *skip, *bypass;              // (V, E): sums of dy * x over the mixed, over the bypassing channels
    float *skip_parts, *bypass_parts;  // (V, E, N * parts), room for C parts of an image
    unsigned* arrivals;                // (V, norms + nodes), 0 before the call
};

}  // namespace sgl_fast
