// Tensors in, raw pointers out: the only file that knows torch. Each function is the kernel of an operator of
// sgl_fast.ops, where shapes and dtypes are explained; what is checked here keeps the pointers inside their tensors.
//
// Call is where a call's tensors are and its kernels run. With CUDASIM the module computes by the CUDA kernels, simulated,
// on CPU tensors.

#ifdef CUDASIM
#include "tests/sim/cudasim.h"
#endif

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <torch/csrc/utils/pybind.h>

#include <optional>
#include <tuple>
#include <vector>

#include "cpu/blocks.h"
#include "cpu/flat_update.h"
#include "cpu/isa.h"
#include "cpu/mixed_cell.h"
#include "cpu/pool.h"
#include "cpu/pseudo_label.h"
#ifdef CUDASIM
#include "cuda/flat_update.h"
#include "cuda/mixed_cell.h"
#include "cuda/pseudo_label.h"
#endif

namespace {

namespace py = pybind11;
using namespace sgl_fast;
using at::IntArrayRef;
using at::Tensor;

#ifdef CUDASIM

struct Call {
    std::vector<Tensor> rooms;
    Stream queue{nullptr, room, this};

    static bool holds(const Tensor& tensor) { return tensor.device().is_cpu(); }
    static void* room(void* call, size_t bytes) {
        auto& rooms = static_cast<Call*>(call)->rooms;
        rooms.push_back(at::empty({static_cast<int64_t>(bytes)}, at::kByte));
        return rooms.back().mutable_data_ptr();
    }
    static Tensor large(IntArrayRef sizes) { return at::empty(sizes); }
};

#else

void run_on_torch(int count, void (*task)(void*, int), void* context) {
    at::parallel_for(0, count, 1, [=](int64_t begin, int64_t end) {
        for (int64_t index = begin; index < end; ++index) task(context, static_cast<int>(index));
    });
}

struct Call {
    Pool queue{at::get_num_threads(), run_on_torch};

    static bool holds(const Tensor& tensor) { return tensor.device().is_cpu(); }
    // A new tensor in memory that is used again when it is gone.
    static Tensor large(IntArrayRef sizes) {
        size_t floats = 1;
        for (int64_t size : sizes) floats *= size;
        float* block = take_block(floats);
        return at::from_blob(block, sizes, [](void* memory) { give_block(static_cast<float*>(memory)); }, at::kFloat);
    }
};

#endif

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
    cross_entropy(Call().queue, size[0], size[1], size[2], static_cast<float>(weight), data(x), data(t), out(loss),
                  out(log_probs), out(grad));
    return {loss, log_probs, grad};
}

std::tuple<Tensor, Tensor> pseudo_labels_of(const Tensor& teachers) {
    const IntArrayRef size = sizes_of(teachers, 3);
    const Tensor x = checked(teachers, size);
    Tensor p = at::empty(size), targets = at::empty(size);
    pseudo_labels(Call().queue, size[0], size[1], size[2], data(x), out(p), out(targets));
    return {p, targets};
}

Tensor teacher_cotangent_of(const Tensor& p, const Tensor& tau) {
    const IntArrayRef size = sizes_of(p, 3);
    const Tensor a = checked(p, size), b = checked(tau, size);
    Tensor cotangent = at::empty(size);
    teacher_cotangent(Call().queue, size[0], size[1], size[2], data(a), data(b), out(cotangent));
    return cotangent;
}

Tensor row_norms_of(const Tensor& rows) {
    const IntArrayRef size = sizes_of(rows, 2);
    const Tensor x = checked(rows, size);
    Tensor norms = at::empty({size[0]});
    row_norms(Call().queue, size[0], size[1], data(x), out(norms));
    return norms;
}

std::tuple<Tensor, Tensor, Tensor> sgd_of(const Tensor& weights, const Tensor& grad, const Tensor& buffer, double lr,
                                          double momentum, double weight_decay, double clip) {
    const IntArrayRef size = sizes_of(weights, 2);
    const Tensor w = checked(weights, size), g = checked(grad, size), b = checked(buffer, size);
    Tensor new_weights = Call::large(size), new_buffer = Call::large(size), norms = at::empty({size[0]});
    const Sgd settings{static_cast<float>(lr), static_cast<float>(momentum), static_cast<float>(weight_decay),
                       static_cast<float>(clip)};
    sgd(Call().queue, size[0], size[1], settings, data(w), data(g), data(b), out(new_weights), out(new_buffer),
        out(norms));
    return {new_weights, new_buffer, norms};
}

std::tuple<Tensor, Tensor> perturb_of(const Tensor& weights, const Tensor& direction, double r) {
    const IntArrayRef size = sizes_of(weights, 2);
    const Tensor w = checked(weights, size), d = checked(direction, size);
    Tensor both = Call::large({2 * size[0], size[1]}), eps = at::empty({size[0]});
    perturb(Call().queue, size[0], size[1], static_cast<float>(r), data(w), data(d), out(both), out(eps));
    return {both, eps};
}

Tensor quotient_of(const Tensor& both, const Tensor& eps) {
    const IntArrayRef size = sizes_of(both, 2);
    const int64_t K = size[0] / 2;
    const Tensor x = checked(both, {2 * K, size[1]}), e = checked(eps, {K});
    Tensor result = at::empty({K, size[1]});
    quotient(Call().queue, K, size[1], data(x), data(e), out(result));
    return result;
}

// The cell that sgl_fast.ops.mixed_cell writes as a list of numbers, for first states of H x W.
Plan plan_of(const std::vector<int64_t>& cell, int64_t H, int64_t W) {
    auto number = cell.begin();
    const auto next = [&] { return static_cast<int>(*number++); };
    CellShape shape;
    shape.c_prev_prev = next();
    shape.c_prev = next();
    shape.channels = next();
    shape.nodes = next();
    shape.partial = next();
    shape.reduction = next();
    shape.shrink0 = next();
    shape.aux_skip = next();
    shape.preprocess = next();
    shape.ops_per_edge = next();
    while (number != cell.end()) {
        shape.ops.emplace_back();
        for (int o = 0; o < shape.ops_per_edge; ++o) shape.ops.back().push_back(static_cast<Op>(next()));
    }
    return Plan(shape, static_cast<int>(H), static_cast<int>(W));
}

// Weights and norms of a learner; floats and bytes that an image leaves; dropout masks.
std::tuple<size_t, size_t, size_t, size_t, int> mixed_cell_sizes(const std::vector<int64_t>& cell, int64_t H,
                                                                 int64_t W) {
    const Plan plan = plan_of(cell, H, W);
    return {plan.weights, plan.norms, plan.saved, plan.pattern, plan.dropouts};
}

// The tensor, or a copy, such that each image is dense. RuntimeError unless it is a float32 CPU tensor of these sizes.
Tensor dense_images(const Tensor& tensor, IntArrayRef sizes) {
    TORCH_CHECK(tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.sizes() == sizes,
                "need a float32 CPU tensor of size ", sizes, "; got ", tensor.scalar_type(), " ", tensor.sizes());
    const bool dense = tensor.stride(4) == 1 && tensor.stride(3) == sizes[4] && tensor.stride(2) == sizes[3] * sizes[4];
    return dense ? tensor : tensor.contiguous();
}

// A cell's tensors, checked, and the pointers to them.
struct Cell {
    Plan plan;
    Tensor s0, s1, weights, op_weights, edge_weights, dropout;
    CellInputs inputs;

    Cell(const std::vector<int64_t>& cell, const Tensor& s0_, const Tensor& s1_, const Tensor& weights_,
         const Tensor& op_weights_, const std::optional<Tensor>& edge_weights_, const std::optional<Tensor>& dropout_,
         double skip_beta, double dropout_scale, bool training)
        : plan(plan_of(cell, s1_.size(3), s1_.size(4))) {
        const int64_t V = s1_.size(0), N = s1_.size(1), E = plan.edges.size(), H = plan.H, W = plan.W;
        const int64_t scale = plan.cell.shrink0 ? 2 : 1, C = plan.cell.channels;
        const bool raw = plan.cell.preprocess;
        s0 = dense_images(s0_, {V, N, raw ? plan.cell.c_prev_prev : C, raw ? scale * H : H, raw ? scale * W : W});
        s1 = dense_images(s1_, {V, N, raw ? plan.cell.c_prev : C, H, W});
        const int64_t P = plan.weights;
        TORCH_CHECK(weights_.dim() == 2 && weights_.size(0) == V && weights_.size(1) == P &&
                        weights_.scalar_type() == at::kFloat && weights_.device().is_cpu(),
                    "need weights (", V, ", ", P, ") float32; got ", weights_.scalar_type(), " ", weights_.sizes());
        weights = weights_.stride(1) == 1 || P == 0 ? weights_ : weights_.contiguous();
        op_weights = checked(op_weights_, {V, E, plan.cell.ops_per_edge});
        if (edge_weights_) edge_weights = checked(*edge_weights_, {V, E});
        if (dropout_) {
            const IntArrayRef size = dropout_->sizes();
            TORCH_CHECK(dropout_->scalar_type() == at::kBool &&
                            size == IntArrayRef({plan.dropouts, V, N, plan.mixed_channels, plan.out_H, plan.out_W}),
                        "need a dropout mask for each stride-1 skip; got ", size);
            dropout = dropout_->contiguous();
        }
        inputs.V = static_cast<int>(V);
        inputs.N = static_cast<int>(N);
        const Tensor* s[2] = {&s0, &s1};
        for (int i = 0; i < 2; ++i) {
            inputs.s[i] = data(*s[i]);
            inputs.learner[i] = s[i]->stride(0);
            inputs.image[i] = s[i]->stride(1);
        }
        inputs.weights = data(weights);
        inputs.weights_row = weights.stride(0);
        inputs.op_weights = data(op_weights);
        inputs.edge_weights = edge_weights.defined() ? data(edge_weights) : nullptr;
        inputs.skip_beta = static_cast<float>(skip_beta);
        inputs.dropout = dropout.defined() ? reinterpret_cast<const uint8_t*>(dropout.const_data_ptr<bool>()) : nullptr;
        inputs.dropout_scale = static_cast<float>(dropout_scale);
        inputs.training = training;
    }

    std::vector<int64_t> images(int64_t channels, int64_t H, int64_t W) const {
        return {inputs.V, inputs.N, channels, H, W};
    }
    std::vector<int64_t> out_size() const {
        return images(plan.cell.nodes * plan.cell.channels, plan.out_H, plan.out_W);
    }
};

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> mixed_cell_of(
        const std::vector<int64_t>& cell, const Tensor& s0, const Tensor& s1, const Tensor& weights,
        const Tensor& op_weights, const std::optional<Tensor>& edge_weights, const std::optional<Tensor>& running,
        const std::optional<Tensor>& pattern, const std::optional<Tensor>& dropout, double skip_beta,
        double dropout_scale) {
    const Cell c(cell, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, !running);
    const int64_t V = c.inputs.V, N = c.inputs.N, norms = c.plan.norms, bytes = c.plan.pattern;
    Tensor states = Call::large({V, N, c.plan.cell.preprocess ? 2 : 0, c.plan.cell.channels, c.plan.H, c.plan.W});
    Tensor planes = Call::large({V, N, static_cast<int64_t>(c.plan.saved)});
    Tensor stats = running ? checked(*running, {V, 3, norms}).clone() : at::empty({V, 3, norms});
    if (pattern)
        TORCH_CHECK(pattern->scalar_type() == at::kByte && pattern->sizes() == IntArrayRef({V, N, bytes}),
                    "need a pattern (", V, ", ", N, ", ", bytes, ") uint8; got ", pattern->scalar_type(), " ",
                    pattern->sizes());
    Tensor bits = pattern ? pattern->clone(at::MemoryFormat::Contiguous) : at::empty({V, N, bytes}, at::kByte);
    Tensor result = at::empty(c.out_size());
    const CellSaved saved{out(states), out(planes), out(stats), bits.mutable_data_ptr<uint8_t>()};
    mixed_cell_forward(Call().queue, c.plan, c.inputs, pattern.has_value(), saved, out(result));
    return {result, states, planes, stats, bits};
}

using Maybe = std::optional<Tensor>;

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> mixed_cell_backward_of(
        const std::vector<int64_t>& cell, const Tensor& s0, const Tensor& s1, const Tensor& weights,
        const Tensor& op_weights, const Maybe& edge_weights, const Maybe& dropout, const Tensor& result,
        const Tensor& states, const Tensor& planes, const Tensor& stats, const Tensor& pattern, const Tensor& grad,
        double skip_beta, double dropout_scale, bool training, bool want_s0, bool want_s1, bool want_weights) {
    const Cell c(cell, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, training);
    const int64_t V = c.inputs.V, N = c.inputs.N;
    const Tensor y = checked(result, c.out_size()), g = checked(grad, c.out_size());
    const CellSaved saved{const_cast<float*>(data(states)), const_cast<float*>(data(planes)),
                          const_cast<float*>(data(stats)), const_cast<uint8_t*>(pattern.const_data_ptr<uint8_t>())};
    const int64_t P = c.plan.weights;
    TORCH_CHECK(planes.sizes() == IntArrayRef({V, N, static_cast<int64_t>(c.plan.saved)}), "need what the forward saved");
    const Tensor none = at::empty({0});
    Tensor ds0 = want_s0 ? at::empty_strided(c.s0.sizes(), c.s0.strides()) : none;
    Tensor ds1 = want_s1 ? at::empty_strided(c.s1.sizes(), c.s1.strides()) : none;
    Tensor dw = want_weights ? at::empty({V, P}) : none;
    Tensor dops = at::empty(c.op_weights.sizes());
    Tensor dedges = edge_weights ? at::empty(edge_weights->sizes()) : none;
    const CellGradients wanted{{want_s0 ? out(ds0) : nullptr, want_s1 ? out(ds1) : nullptr},
                               want_weights ? out(dw) : nullptr,
                               out(dops),
                               edge_weights ? out(dedges) : nullptr};
    mixed_cell_backward(Call().queue, c.plan, c.inputs, saved, data(y), data(g), wanted);
    return {ds0, ds1, dw, dops, dedges};
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
    using released = py::call_guard<py::gil_scoped_release>;
#ifdef CUDASIM
    m.def("isa", [] { return "simulated"; });
    m.def("launches", [] { return launches; });
#else
    m.def("isa", [] { return name_of(isa()); });
#endif
    m.def("cross_entropy", &cross_entropy_of, released());
    m.def("pseudo_labels", &pseudo_labels_of, released());
    m.def("teacher_cotangent", &teacher_cotangent_of, released());
    m.def("row_norms", &row_norms_of, released());
    m.def("sgd", &sgd_of, released());
    m.def("perturb", &perturb_of, released());
    m.def("quotient", &quotient_of, released());
    m.def("mixed_cell_sizes", &mixed_cell_sizes);
    m.def("mixed_cell", &mixed_cell_of, released());
    m.def("mixed_cell_backward", &mixed_cell_backward_of, released());
}
