#pragma once

#include <ATen/ops/empty_strided.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "call.h"
#include "checks.h"

namespace sgl_fast {

// The cell that sgl_fast.ops writes as a list of numbers, for first states of H x W.
inline Plan plan_of(const std::vector<int64_t>& cell, int64_t H, int64_t W) {
    constexpr int64_t head = 11, most = 1 << 20;  // sizes, flags and operations an edge; of each number
    const auto edges = [](int64_t nodes) { return nodes * (nodes + 3) / 2; };
    TORCH_CHECK(H > 0 && H <= most && W > 0 && W <= most, "need planes of 1 to ", most, " rows and columns; got ", H, " x ", W);
    TORCH_CHECK(cell.size() >= head, "need a cell of at least ", head, " numbers; got ", cell.size());
    for (int64_t number : cell)
        TORCH_CHECK(number >= 0 && number <= most, "need numbers of a cell from 0 to ", most, "; got ", number);
    TORCH_CHECK(cell[2] > 0 && cell[3] > 0 && cell[4] > 0 && cell[2] % cell[4] == 0 && cell[head - 1] > 0 &&
                        static_cast<int64_t>(cell.size()) == head + cell[head - 1] * edges(cell[3]),
                "need a cell whose operations are those of its edges; got ", cell);
    TORCH_CHECK(std::all_of(cell.begin() + head, cell.end(), [](int64_t op) { return op <= static_cast<int>(Op::dil5); }),
                "need known operations; got ", cell);
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
    shape.pool_norm = next();
    shape.ops_per_edge = next();
    while (number != cell.end()) {
        shape.ops.emplace_back();
        for (int o = 0; o < shape.ops_per_edge; ++o) shape.ops.back().push_back(static_cast<Op>(next()));
    }
    return Plan(shape, static_cast<int>(H), static_cast<int>(W));
}

// Weights and norms of a learner; floats and bytes that an image leaves; dropout masks.
inline std::tuple<size_t, size_t, size_t, size_t, int> mixed_cell_sizes(const std::vector<int64_t>& cell, int64_t H,
                                                                 int64_t W) {
    const Plan plan = plan_of(cell, H, W);
    return {plan.weights, plan.norms, plan.saved, plan.pattern, plan.dropouts};
}

// The tensor, or a copy, that starts where kernels may read four floats at once.
inline Tensor aligned(const Tensor& tensor) {
    const bool is = reinterpret_cast<uintptr_t>(tensor.const_data_ptr<float>()) % 16 == 0;
    return is ? tensor : tensor.clone();
}

// The tensor, or a copy, such that each image is dense, and aligned if its rows are. apart: no two images are one memory, as
// where a gradient of the same strides is written; such a copy has the strides of the tensor, or is contiguous.
inline Tensor dense_images(const char* name, const Tensor& tensor, at::Device device, IntArrayRef sizes, bool apart) {
    need_tensor(name, tensor, device, at::kFloat, sizes);
    const bool dense = tensor.stride(4) == 1 && tensor.stride(3) == sizes[4] && tensor.stride(2) == sizes[3] * sizes[4];
    const bool even = sizes[4] % 4 != 0 || (tensor.stride(0) % 4 == 0 && tensor.stride(1) % 4 == 0);
    return aligned(dense && even && !(apart && !tensor.is_non_overlapping_and_dense()) ? tensor : tensor.contiguous());
}

// A cell's tensors, checked, and the pointers to them.
struct Cell {
    Plan plan;
    Tensor s0, s1, weights, op_weights, edge_weights, dropout;
    CellInputs inputs;

    template <class Call>
    Cell(const Call& call, const std::vector<int64_t>& cell, const Tensor& s0_, const Tensor& s1_, const Tensor& weights_,
         const Tensor& op_weights_, const std::optional<Tensor>& edge_weights_, const std::optional<Tensor>& dropout_,
         double skip_beta, double dropout_scale, bool training, bool want_s0 = false, bool want_s1 = false)
        : plan(plan_of(cell, s1_.size(3), s1_.size(4))) {
        const int64_t V = s1_.size(0), N = s1_.size(1), E = plan.edges.size(), H = plan.H, W = plan.W;
        const int64_t scale = plan.cell.shrink0 ? 2 : 1, C = plan.cell.channels;
        const bool raw = plan.cell.preprocess;
        s0 = dense_images("s0", s0_, call.device,
                          {V, N, raw ? plan.cell.c_prev_prev : C, raw ? scale * H : H, raw ? scale * W : W}, want_s0);
        s1 = dense_images("s1", s1_, call.device, {V, N, raw ? plan.cell.c_prev : C, H, W}, want_s1);
        const int64_t P = plan.weights;
        need_tensor("weights", weights_, call.device, at::kFloat, {V, P});
        weights = weights_.stride(1) == 1 || P == 0 ? weights_ : weights_.contiguous();
        op_weights = checked(call, "op_weights", op_weights_, {V, E, plan.cell.ops_per_edge});
        if (edge_weights_) edge_weights = checked(call, "edge_weights", *edge_weights_, {V, E});
        if (dropout_) {
            need_tensor("dropout", *dropout_, call.device, at::kBool,
                        {plan.dropouts, V, N, plan.mixed_channels, plan.out_H, plan.out_W});
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

    std::vector<int64_t> out_size() const {
        return {inputs.V, inputs.N, plan.cell.nodes * plan.cell.channels, plan.out_H, plan.out_W};
    }
    std::vector<int64_t> states_size() const {
        return {inputs.V, inputs.N, plan.cell.preprocess ? 2 : 0, plan.cell.channels, plan.H, plan.W};
    }
};

using Maybe = std::optional<Tensor>;

// (V, 3, norms), for the forward to complete: the statistics `running` of batch norms if given, and those of the norms that
// change nothing.
template <class Call> Tensor statistics_of(const Call& call, const Plan& plan, int64_t V, const Maybe& running) {
    const int64_t norms = plan.norms, measured = plan.measured;
    Tensor stats = empty(call, {V, 3, norms});
    if (running) stats.narrow(2, 0, measured).copy_(checked(call, "running", *running, {V, 3, measured}));
    if (measured < norms) {
        const Tensor others = stats.narrow(2, measured, norms - measured);
        others.zero_();
        others.select(1, 1).fill_(1);
    }
    return stats;
}

template <class Call>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> mixed_cell_of(
        const std::vector<int64_t>& cell, const Tensor& s0, const Tensor& s1, const Tensor& weights,
        const Tensor& op_weights, const Maybe& edge_weights, const Maybe& running, const Maybe& pattern,
        const Maybe& dropout, double skip_beta, double dropout_scale, bool half) {
    const Call call(s1);
    TORCH_CHECK(!half || Call::stores_half, "need backend 'cuda' or 'triton' for float16 between forward and backward");
    const Cell c(call, cell, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, !running);
    const int64_t V = c.inputs.V, N = c.inputs.N, bytes = c.plan.pattern;
    Tensor states = call.large(c.states_size());
    const std::vector<int64_t> kept{V, N, static_cast<int64_t>(c.plan.saved)};
    Tensor planes = half ? empty(call, kept, at::kHalf) : call.large(kept);
    Tensor stats = statistics_of(call, c.plan, V, running);
    if (pattern) need_tensor("pattern", *pattern, call.device, at::kByte, {V, N, bytes});
    Tensor bits = pattern ? pattern->clone(at::MemoryFormat::Contiguous) : empty(call, {V, N, bytes}, at::kByte);
    Tensor result = empty(call, c.out_size());
    const CellSaved saved{out(states), planes.mutable_data_ptr(), out(stats), bits.mutable_data_ptr<uint8_t>(), half};
    mixed_cell_forward(call.queue, c.plan, c.inputs, pattern.has_value(), saved, out(result));
    return {result, states, planes, stats, bits};
}

template <class Call>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> mixed_cell_backward_of(
        const std::vector<int64_t>& cell, const Tensor& s0, const Tensor& s1, const Tensor& weights,
        const Tensor& op_weights, const Maybe& edge_weights, const Maybe& dropout, const Tensor& result,
        const Tensor& states, const Tensor& planes, const Tensor& stats, const Tensor& pattern, const Tensor& grad,
        double skip_beta, double dropout_scale, bool training, bool want_s0, bool want_s1, bool want_weights) {
    const Call call(s1);
    const Cell c(call, cell, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, training,
                 want_s0, want_s1);
    const int64_t V = c.inputs.V, N = c.inputs.N, P = c.plan.weights, bytes = c.plan.pattern, norms = c.plan.norms;
    const Tensor y = aligned(checked(call, "out", result, c.out_size()));
    const Tensor g = aligned(checked(call, "grad", grad, c.out_size()));
    const Plan& plan = c.plan;
    const Tensor kept_states = checked(call, "states", states, c.states_size());
    const bool half = Call::stores_half && planes.scalar_type() == at::kHalf;
    need_tensor("planes", planes, call.device, half ? at::kHalf : at::kFloat, {V, N, static_cast<int64_t>(plan.saved)});
    const Tensor kept_planes = planes.contiguous(), kept_stats = checked(call, "stats", stats, {V, 3, norms});
    need_tensor("pattern", pattern, call.device, at::kByte, {V, N, bytes});
    const Tensor bits = pattern.contiguous();
    const CellSaved saved{const_cast<float*>(data(kept_states)), const_cast<void*>(kept_planes.const_data_ptr()),
                          const_cast<float*>(data(kept_stats)), const_cast<uint8_t*>(bits.const_data_ptr<uint8_t>()), half};
    const auto like = [&](const Tensor& t) {
        return at::empty_strided(t.sizes(), t.strides(), at::TensorOptions(call.device).dtype(at::kFloat));
    };
    const Tensor none = empty(call, {0});
    Tensor ds0 = want_s0 ? like(c.s0) : none;
    Tensor ds1 = want_s1 ? like(c.s1) : none;
    Tensor dw = want_weights ? empty(call, {V, P}) : none;
    Tensor dops = empty(call, c.op_weights.sizes());
    Tensor dedges = edge_weights ? empty(call, edge_weights->sizes()) : none;
    const CellGradients wanted{{want_s0 ? out(ds0) : nullptr, want_s1 ? out(ds1) : nullptr},
                               want_weights ? out(dw) : nullptr,
                               out(dops),
                               edge_weights ? out(dedges) : nullptr};
    mixed_cell_backward(call.queue, c.plan, c.inputs, saved, data(y), data(g), wanted);
    return {ds0, ds1, dw, dops, dedges};
}

template <class Call> void bind_mixed_cell(py::module_& m) {
    using released = py::call_guard<py::gil_scoped_release>;
    m.def("mixed_cell", &mixed_cell_of<Call>, released());
    m.def("mixed_cell_backward", &mixed_cell_backward_of<Call>, released());
}

}  // namespace sgl_fast
