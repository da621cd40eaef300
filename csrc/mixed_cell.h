// One cell of the supernet over V virtual learners and N images: forward, and backward with or without the gradients of
// the weights. Arrays are dense and row-major unless a stride is given; strides count floats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "program.h"

namespace sgl_fast {

struct Pool;    // cpu/pool.h
struct Stream;  // cuda/launch.h

// What both directions read.
struct CellInputs {
    int V, N;
    const float* s[2];               // images of the two inputs; without preprocessing, the first two states
    ptrdiff_t learner[2], image[2];  // strides of s
    const float* weights;            // (V, head.weights)
    ptrdiff_t weights_row;
    const float* op_weights;    // (V, E, O)
    const float* edge_weights;  // (V, E), or null: 1
    const float* skip_beta;     // coefficient of auxiliary skips, or null: 1
    const uint8_t* dropout;     // (head.dropouts, V, N, C, H', W') of 0 and 1, or null
    const float* dropout_scale;  // of what is kept, where there is dropout
    bool training;              // batch statistics; else those of `stats`
};

// What the forward leaves for the backward.
struct CellSaved {
    float* states;      // (V, N, 2, C, H, W): the preprocessed inputs; on CUDA before their norm
    void* activations;  // (V, N, head.saved): results of convolutions and pools before their norms, float32
    float* stats;       // (V, 3, head.norms): mean, 1 / deviation, unbiased variance
    uint8_t* pattern;   // (V, N, head.pattern)
    bool half = false;  // activations of float16, which CUDA alone can
};

struct CellGradients {
    float* s[2];          // as the inputs, same strides; null where not wanted
    float* weights;       // (V, head.weights); null where not wanted
    float* op_weights;    // (V, E, O)
    float* edge_weights;  // (V, E), or null
};

// out (V, N, nodes * C, H', W'). The pattern is replayed, or else recorded. In evaluation, stats holds mean and
// variance in its rows 0 and 2 and is completed; past head.measured it holds mean 0 and 1 / deviation 1, always.
void mixed_cell_forward(const Pool& pool, const Program& program, const CellInputs& in, bool replay,
                        const CellSaved& saved, float* out);
void mixed_cell_forward(const Stream& stream, const Program& program, const CellInputs& in, bool replay,
                        const CellSaved& saved, float* out);

// grad and out (V, N, nodes * C, H', W')
void mixed_cell_backward(const Pool& pool, const Program& program, const CellInputs& in, const CellSaved& saved,
                         const float* out, const float* grad, const CellGradients& wanted);
void mixed_cell_backward(const Stream& stream, const Program& program, const CellInputs& in, const CellSaved& saved,
                         const float* out, const float* grad, const CellGradients& wanted);

}  // namespace sgl_fast
