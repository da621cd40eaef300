// The library of operators, for any Python and any torch from 2.10: torch is called by its stable ABI alone. Each operator is
// the kernel of one of sgl_fast.ops, where shapes and dtypes are explained: sgl_fast_cpu has those of the CPU,
// sgl_fast_cuda those of CUDA. They check sizes, dtypes and devices: std::runtime_error.

#include "operators/augment.h"
#include "operators/convolution.h"
#include "operators/flat_update.h"
#include "operators/mixed_cell.h"
#include "operators/pseudo_label.h"
#include "operators/skip_dropout.h"

namespace {

using namespace sgl_fast;

template <class Call> void add_all(Library& m) {
    add_augment<Call>(m);
    add_flat_update<Call>(m);
    add_mixed_cell<Call>(m);
    add_pseudo_label<Call>(m);
    add_skip_dropout<Call>(m);
}

}  // namespace

STABLE_TORCH_LIBRARY(sgl_fast_cpu, m) {
    add_all<CpuCall>(m);
    add_convolution(m);
}

STABLE_TORCH_LIBRARY(sgl_fast_cuda, m) { add_all<CudaCall>(m); }
