// The extension module. Each function is the kernel of an operator of sgl_fast.ops, where shapes and dtypes are explained:
// those of the CPU in the module itself, those of CUDA in its part `cuda`.

#include "bindings/augment.h"
#include "bindings/convolution.h"
#include "bindings/flat_update.h"
#include "bindings/mixed_cell.h"
#include "bindings/program.h"
#include "bindings/pseudo_label.h"
#include "bindings/skip_dropout.h"
#include "cpu/isa.h"
#include "cuda/driver.h"
#include "cuda/launch.h"

namespace {

using namespace sgl_fast;

template <class Call> void bind(py::module_& m) {
    bind_augment<Call>(m);
    bind_flat_update<Call>(m);
    bind_mixed_cell<Call>(m);
    bind_pseudo_label<Call>(m);
    bind_skip_dropout<Call>(m);
}

// Why there is no CUDA driver here; empty if there is one.
std::string why_no_driver() {
    try {
        driver();
        return "";
    } catch (const std::runtime_error& error) {
        return error.what();
    }
}

void load(int device, const std::vector<py::bytes>& modules) {
    load_kernels(device, std::vector<std::string>(modules.begin(), modules.end()));
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
    bind_program(m);
    m.def("isa", [] { return name_of(isa()); });
    bind<CpuCall>(m);
    bind_convolution(m);
    py::module_ cuda = m.def_submodule("cuda");
    bind<CudaCall>(cuda);
    cuda.def("why_no_driver", &why_no_driver);
    cuda.def("load", &load);
    cuda.def("loaded", &kernels_loaded);
}
