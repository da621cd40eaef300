// Tensors in, raw pointers out: the only file that knows torch. Shapes and dtypes are checked by sgl_fast.ops.

#include <ATen/Parallel.h>
#include <torch/csrc/utils/pybind.h>

#include "cpu/isa.h"
#include "cpu/pool.h"

namespace {

namespace py = pybind11;
using namespace sgl_fast;

void run_on_torch(int count, void (*task)(void*, int), void* context) {
  at::parallel_for(0, count, 1, [=](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) task(context, static_cast<int>(index));
  });
}

[[maybe_unused]] Pool torch_pool() { return {at::get_num_threads(), run_on_torch}; }

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("isa", [] { return name_of(isa()); });
}
