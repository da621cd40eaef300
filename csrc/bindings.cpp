// Tensors in, raw pointers out: the only file that knows torch. Each function is the CPU kernel of an operator of
// sgl_fast.ops, where shapes and dtypes are explained; what is checked here keeps the pointers inside their tensors.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/utils/pybind.h>

#include <tuple>

#include "cpu/flat_update.h"
#include "cpu/isa.h"
#include "cpu/pool.h"
#include "cpu/pseudo_label.h"

namespace {

namespace py = pybind11;
using namespace sgl_fast;
using at::IntArrayRef;
using at::Tensor;

void run_on_torch(int count, void (*task)(void*, int), void* context) {
    at::parallel_for(0, count, 1, [=](int64_t begin, int64_t end) {
        for (int64_t index = begin; index < end; ++index) task(context, static_cast<int>(index));
    });
}

Pool torch_pool() { return {at::get_num_threads(), run_on_torch}; }

// The tensor, contiguous. RuntimeError unless it is a float32 CPU tensor of these sizes.
Tensor checked(const Tensor& tensor, IntArrayRef sizes) {
    TORCH_CHECK(tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.sizes() == sizes,
                "need a float32 CPU tensor of size ", sizes, "; got ", tensor.scalar_type(), " ", tensor.sizes(), " on ",
                tensor.device());
    return tensor.contiguous();
}

// RuntimeError unless the tensor has that many dimensions, none of them empty.
IntArrayRef sizes_of(const Tensor& tensor, int64_t dimensions) {
    TORCH_CHECK(tensor.dim() == dimensions && tensor.numel() > 0, "need ", dimensions, " dimensions, none empty; got ",
                tensor.sizes());
    return tensor.sizes();
}

const float* data(const Tensor& tensor) { return tensor.const_data_ptr<float>(); }
float* out(Tensor& tensor) { return tensor.mutable_data_ptr<float>(); }

std::tuple<Tensor, Tensor, Tensor> cross_entropy_of(const Tensor& logits, const Tensor& targets, double weight) {
    const IntArrayRef size = sizes_of(logits, 3);
    const Tensor x = checked(logits, size), t = checked(targets, size);
    Tensor loss = at::empty({size[0]}), log_probs = at::empty(size), grad = at::empty(size);
    cross_entropy(torch_pool(), size[0], size[1], size[2], static_cast<float>(weight), data(x), data(t), out(loss),
                  out(log_probs), out(grad));
    return {loss, log_probs, grad};
}

std::tuple<Tensor, Tensor> pseudo_labels_of(const Tensor& teachers) {
    const IntArrayRef size = sizes_of(teachers, 3);
    const Tensor x = checked(teachers, size);
    Tensor p = at::empty(size), targets = at::empty(size);
    pseudo_labels(torch_pool(), size[0], size[1], size[2], data(x), out(p), out(targets));
    return {p, targets};
}

Tensor teacher_cotangent_of(const Tensor& p, const Tensor& tau) {
    const IntArrayRef size = sizes_of(p, 3);
    const Tensor a = checked(p, size), b = checked(tau, size);
    Tensor cotangent = at::empty(size);
    teacher_cotangent(torch_pool(), size[0], size[1], size[2], data(a), data(b), out(cotangent));
    return cotangent;
}

Tensor row_norms_of(const Tensor& rows) {
    const IntArrayRef size = sizes_of(rows, 2);
    const Tensor x = checked(rows, size);
    Tensor norms = at::empty({size[0]});
    row_norms(torch_pool(), size[0], size[1], data(x), out(norms));
    return norms;
}

std::tuple<Tensor, Tensor, Tensor> sgd_of(const Tensor& weights, const Tensor& grad, const Tensor& buffer, double lr,
                                          double momentum, double weight_decay, double clip) {
    const IntArrayRef size = sizes_of(weights, 2);
    const Tensor w = checked(weights, size), g = checked(grad, size), b = checked(buffer, size);
    Tensor new_weights = at::empty(size), new_buffer = at::empty(size), norms = at::empty({size[0]});
    const Sgd settings{static_cast<float>(lr), static_cast<float>(momentum), static_cast<float>(weight_decay),
                       static_cast<float>(clip)};
    sgd(torch_pool(), size[0], size[1], settings, data(w), data(g), data(b), out(new_weights), out(new_buffer),
        out(norms));
    return {new_weights, new_buffer, norms};
}

std::tuple<Tensor, Tensor> perturb_of(const Tensor& weights, const Tensor& direction, double r) {
    const IntArrayRef size = sizes_of(weights, 2);
    const Tensor w = checked(weights, size), d = checked(direction, size);
    Tensor both = at::empty({2 * size[0], size[1]}), eps = at::empty({size[0]});
    perturb(torch_pool(), size[0], size[1], static_cast<float>(r), data(w), data(d), out(both), out(eps));
    return {both, eps};
}

Tensor quotient_of(const Tensor& both, const Tensor& eps) {
    const IntArrayRef size = sizes_of(both, 2);
    const int64_t K = size[0] / 2;
    const Tensor x = checked(both, {2 * K, size[1]}), e = checked(eps, {K});
    Tensor result = at::empty({K, size[1]});
    quotient(torch_pool(), K, size[1], data(x), data(e), out(result));
    return result;
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
    using released = py::call_guard<py::gil_scoped_release>;
    m.def("isa", [] { return name_of(isa()); });
    m.def("cross_entropy", &cross_entropy_of, released());
    m.def("pseudo_labels", &pseudo_labels_of, released());
    m.def("teacher_cotangent", &teacher_cotangent_of, released());
    m.def("row_norms", &row_norms_of, released());
    m.def("sgd", &sgd_of, released());
    m.def("perturb", &perturb_of, released());
    m.def("quotient", &quotient_of, released());
}
