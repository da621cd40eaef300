#pragma once

#include "../cpu/mixed_cell.h"
#include "launch.h"

// As csrc/cpu/mixed_cell.h, on device memory; `states` of CellSaved holds the preprocessed inputs before their norm.
namespace sgl_fast {

void mixed_cell_forward(const Stream& stream, const Program& program, const CellInputs& in, bool replay, const CellSaved& saved,
                        float* out);

void mixed_cell_backward(const Stream& stream, const Program& program, const CellInputs& in, const CellSaved& saved,
                         const float* out, const float* grad, const CellGradients& gradients);

}  // namespace sgl_fast
