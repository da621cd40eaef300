#include "../mixed_cell.h"

#include "kernels.h"

namespace sgl_fast {

void mixed_cell_forward(const Pool& pool, const Program& program, const CellInputs& in, bool replay,
                        const CellSaved& saved, float* out) {
    kernels().cell_forward(pool, program, in, replay, saved, out);
}

void mixed_cell_backward(const Pool& pool, const Program& program, const CellInputs& in, const CellSaved& saved,
                         const float* out, const float* grad, const CellGradients& wanted) {
    kernels().cell_backward(pool, program, in, saved, out, grad, wanted);
}

}  // namespace sgl_fast
