#include "mixed_cell.h"

#include "isa.h"

namespace sgl_fast {

#define SGL_FAST_CELL(isa)                                                                                          \
    namespace isa {                                                                                                 \
    void forward(const Pool&, const Program&, const CellInputs&, bool, const CellSaved&, float*);                      \
    void backward(const Pool&, const Program&, const CellInputs&, const CellSaved&, const float*, const float*,        \
                  const CellGradients&);                                                                            \
    }
SGL_FAST_CELL(plain)
#if defined(__x86_64__)
SGL_FAST_CELL(avx2)
SGL_FAST_CELL(avx512)
#endif

void mixed_cell_forward(const Pool& pool, const Program& program, const CellInputs& in, bool replay, const CellSaved& saved,
                        float* out) {
#if defined(__x86_64__)
    const Isa set = isa();
    if (set == Isa::avx512) return avx512::forward(pool, program, in, replay, saved, out);
    if (set == Isa::avx2) return avx2::forward(pool, program, in, replay, saved, out);
#endif
    plain::forward(pool, program, in, replay, saved, out);
}

void mixed_cell_backward(const Pool& pool, const Program& program, const CellInputs& in, const CellSaved& saved,
                         const float* out, const float* grad, const CellGradients& wanted) {
#if defined(__x86_64__)
    const Isa set = isa();
    if (set == Isa::avx512) return avx512::backward(pool, program, in, saved, out, grad, wanted);
    if (set == Isa::avx2) return avx2::backward(pool, program, in, saved, out, grad, wanted);
#endif
    plain::backward(pool, program, in, saved, out, grad, wanted);
}

}  // namespace sgl_fast
