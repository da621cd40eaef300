// The extension module. Each function is the kernel of an operator of sgl_fast.ops, where shapes and dtypes are
// explained: those of the CPU in the module itself, those of CUDA in its part `cuda`, if it was built with nvcc.
//
// With CUDASIM the module computes by the CUDA kernels, simulated, on CPU tensors.

#ifdef CUDASIM
#include "tests/sim/cudasim.h"
#endif

#include "bindings/augment.h"
#ifndef CUDASIM
#include "bindings/convolution.h"
#endif
#include "bindings/flat_update.h"
#include "bindings/mixed_cell.h"
#include "bindings/program.h"
#include "bindings/pseudo_label.h"
#include "bindings/skip_dropout.h"
#include "cpu/isa.h"
#ifdef SGL_FAST_CUDA
#include "cuda/support.h"
#endif

namespace {

using namespace sgl_fast;

template <class Call> void bind(py::module_& m) {
    bind_augment<Call>(m);
    bind_flat_update<Call>(m);
    bind_mixed_cell<Call>(m);
    bind_pseudo_label<Call>(m);
    bind_skip_dropout<Call>(m);
}

#ifdef CUDASIM

// Since the last call: each launch's kernel, blocks and bytes of dynamic shared memory.
std::vector<std::tuple<std::string, size_t, size_t>> launched() {
    std::vector<std::tuple<std::string, size_t, size_t>> rows;
    for (const cudasim::Launch& launch : cudasim::launched)
        rows.emplace_back(launch.kernel, launch.blocks, launch.shared);
    cudasim::launched.clear();
    return rows;
}

#endif

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
    bind_program(m);
#ifdef CUDASIM
    m.def("isa", [] { return "simulated"; });
    bind<SimulatedCall>(m);
    m.def("only_count", [](bool on) { cudasim::only_count = on; });
    m.def("launched", &launched);
#else
    m.def("isa", [] { return name_of(isa()); });
    bind<CpuCall>(m);
    bind_convolution(m);
#endif
#ifdef SGL_FAST_CUDA
    py::module_ cuda = m.def_submodule("cuda");
    bind<CudaCall>(cuda);
    cuda.def("why_not", &why_not);
#endif
}
