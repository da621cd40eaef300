#pragma once

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "../library.h"
#include "call.h"

namespace sgl_fast {

// The tensor, or a copy, at an address from which kernels may read four floats at once.
inline Tensor aligned(const Tensor& tensor) {
    const bool on_16_bytes = reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0;
    return on_16_bytes ? tensor : torch::stable::clone(tensor);
}

// Whether each element has a place of its own, with none between them.
inline bool fills_its_memory(const Tensor& tensor) {
    std::vector<std::pair<int64_t, int64_t>> steps;  // stride, size
    for (int64_t i = 0; i < tensor.dim(); i++)
        if (tensor.size(i) != 1) steps.push_back({tensor.stride(i), tensor.size(i)});
    std::sort(steps.begin(), steps.end());
    int64_t next = 1;
    for (const auto& [stride, size] : steps) {
        if (stride != next) return false;
        next *= size;
    }
    return true;
}

// The tensor, or a copy, such that each image is dense and rows of whole quads are aligned; the copy has the tensor's
// strides where these fit, else it is contiguous. disjoint: no two images may be one memory, since a gradient of the same
// strides will be written.
inline Tensor dense_images(const char* name, const Tensor& tensor, const Device& device, Sizes sizes, bool disjoint) {
    need_tensor(name, tensor, device, ScalarType::Float, sizes);
    const bool dense = tensor.stride(4) == 1 && tensor.stride(3) == sizes[4] && tensor.stride(2) == sizes[3] * sizes[4];
    const bool steps_of_quads = sizes[4] % 4 != 0 || (tensor.stride(0) % 4 == 0 && tensor.stride(1) % 4 == 0);
    return aligned(dense && steps_of_quads && !(disjoint && !fills_its_memory(tensor)) ? tensor
                                                                                       : contiguous_of(tensor));
}

using Maybe = std::optional<Tensor>;

// A cell's tensors, checked, and the pointers to them.
struct Cell {
    const Program& program;
    Tensor s0, s1, weights, op_weights;
    Maybe edge_weights, dropout, skip_beta, dropout_scale;
    CellInputs inputs;

    template <class Call>
    Cell(const Call& call, const Program& program_, const Tensor& s0_, const Tensor& s1_, const Tensor& weights_,
         const Tensor& op_weights_, const Maybe& edge_weights_, const Maybe& dropout_, const Maybe& skip_beta_,
         const Maybe& dropout_scale_, bool training, bool want_s0 = false, bool want_s1 = false)
        : program(program_) {
        const rows::Head& head = program.head;
        const int64_t V = s1_.size(0), N = s1_.size(1), E = program.edges.size(), P = head.weights;
        s0 = dense_images("s0", s0_, call.device, input_size(0, V, N), want_s0);
        s1 = dense_images("s1", s1_, call.device, input_size(1, V, N), want_s1);
        need_tensor("weights", weights_, call.device, ScalarType::Float, {V, P});
        weights = weights_.stride(1) == 1 || P == 0 ? weights_ : contiguous_of(weights_);
        op_weights = checked(call, "op_weights", op_weights_, {V, E, head.ops});
        if (edge_weights_) edge_weights = checked(call, "edge_weights", *edge_weights_, {V, E});
        if (dropout_) {
            need_tensor("dropout", *dropout_, call.device, ScalarType::Bool,
                        {head.dropouts, V, N, head.M, head.H_out, head.W_out});
            dropout = contiguous_of(*dropout_);
            need(dropout_scale_.has_value(), "need dropout_scale where there is dropout");
        }
        if (skip_beta_) skip_beta = checked(call, "skip_beta", *skip_beta_, {});
        if (dropout_scale_) dropout_scale = checked(call, "dropout_scale", *dropout_scale_, {});
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
        inputs.edge_weights = edge_weights ? data(*edge_weights) : nullptr;
        inputs.skip_beta = skip_beta ? data(*skip_beta) : nullptr;
        inputs.dropout = dropout ? reinterpret_cast<const uint8_t*>(dropout->const_data_ptr<bool>()) : nullptr;
        inputs.dropout_scale = dropout_scale ? data(*dropout_scale) : nullptr;
        inputs.training = training;
    }

    std::vector<int64_t> out_size() const {
        return {inputs.V, inputs.N, program.head.nodes * program.head.C, program.head.H_out, program.head.W_out};
    }
    std::vector<int64_t> states_size() const {
        return {inputs.V, inputs.N, program.head.preprocess ? 2 : 0, program.head.C, program.head.H, program.head.W};
    }
    std::vector<int64_t> input_size(int which, int64_t V, int64_t N) const {
        const rows::Head& head = program.head;
        if (!head.preprocess) return {V, N, head.C, head.H, head.W};
        const rows::Conv& conv = program.input_convs(which)[0];
        return {V, N, conv.ins, conv.height, conv.width};
    }
};

// (V, 3, norms), which the forward completes: `running` in evaluation, and mean 0, scale 1 of norms that change
// nothing.
template <class Call> Tensor statistics_of(const Call& call, const rows::Head& head, int64_t V, const Maybe& running) {
    const int64_t norms = head.norms, measured = head.measured;
    Tensor stats = empty(call, {V, 3, norms});
    if (running) {
        Tensor own = torch::stable::narrow(stats, 2, 0, measured);
        torch::stable::copy_(own, checked(call, "running", *running, {V, 3, measured}));
    }
    if (measured < norms) {
        Tensor others = torch::stable::narrow(stats, 2, measured, norms - measured);
        torch::stable::zero_(others);
        torch::stable::fill_(torch::stable::select(others, 1, 1), 1);
    }
    return stats;
}

template <class Call>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> mixed_cell_of(int64_t number, const Tensor& s0, const Tensor& s1,
                                                                 const Tensor& weights, const Tensor& op_weights,
                                                                 const Maybe& edge_weights, const Maybe& running,
                                                                 const Maybe& pattern, const Maybe& dropout,
                                                                 const Maybe& skip_beta, const Maybe& dropout_scale,
                                                                 bool half) {
    const Program& program = program_numbered(number);
    const Call call(s1);
    need(!half || Call::stores_half, "need backend 'cuda' or 'triton' for float16 between forward and backward");
    const Cell c(call, program, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, !running);
    const int64_t V = c.inputs.V, N = c.inputs.N, bytes = program.head.pattern;
    Tensor states = call.large(c.states_size());
    const std::vector<int64_t> size{V, N, program.head.saved};
    Tensor activations = half ? empty(call, size, ScalarType::Half) : call.large(size);
    Tensor stats = statistics_of(call, program.head, V, running);
    if (pattern) need_tensor("pattern", *pattern, call.device, ScalarType::Byte, {V, N, bytes});
    Tensor masks =
        pattern ? torch::stable::clone(contiguous_of(*pattern)) : empty(call, {V, N, bytes}, ScalarType::Byte);
    Tensor result = empty(call, c.out_size());
    const CellSaved saved{out(states), activations.mutable_data_ptr(), out(stats), masks.mutable_data_ptr<uint8_t>(),
                          half};
    mixed_cell_forward(call.queue, program, c.inputs, pattern.has_value(), saved, out(result));
    return {result, states, activations, stats, masks};
}

template <class Call>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> mixed_cell_backward_of(
    int64_t number, const Tensor& s0, const Tensor& s1, const Tensor& weights, const Tensor& op_weights,
    const Maybe& edge_weights, const Maybe& dropout, const Tensor& result, const Tensor& states,
    const Tensor& activations, const Tensor& stats, const Tensor& pattern, const Tensor& grad, const Maybe& skip_beta,
    const Maybe& dropout_scale, bool training, bool want_s0, bool want_s1, bool want_weights) {
    const Program& program = program_numbered(number);
    const Call call(s1);
    const Cell c(call, program, s0, s1, weights, op_weights, edge_weights, dropout, skip_beta, dropout_scale, training,
                 want_s0, want_s1);
    const int64_t V = c.inputs.V, N = c.inputs.N, P = program.head.weights, bytes = program.head.pattern,
                  norms = program.head.norms;
    const Tensor y = aligned(checked(call, "out", result, c.out_size()));
    const Tensor g = aligned(checked(call, "grad", grad, c.out_size()));
    const Tensor dense_states = aligned(checked(call, "states", states, c.states_size()));
    const bool half = Call::stores_half && activations.scalar_type() == ScalarType::Half;
    need_tensor("saved", activations, call.device, half ? ScalarType::Half : ScalarType::Float,
                {V, N, program.head.saved});
    const Tensor dense_activations = aligned(contiguous_of(activations)),
                 dense_stats = checked(call, "stats", stats, {V, 3, norms});
    need_tensor("pattern", pattern, call.device, ScalarType::Byte, {V, N, bytes});
    const Tensor masks = contiguous_of(pattern);
    const CellSaved saved{const_cast<float*>(data(dense_states)), const_cast<void*>(dense_activations.const_data_ptr()),
                          const_cast<float*>(data(dense_stats)), const_cast<uint8_t*>(masks.const_data_ptr<uint8_t>()),
                          half};
    const auto like = [&](const Tensor& t) { return empty_strided(call.device, t.sizes(), t.strides()); };
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
    mixed_cell_backward(call.queue, program, c.inputs, saved, data(y), data(g), wanted);
    return {ds0, ds1, dw, dops, dedges};
}

template <class Call> void add_mixed_cell(Library& m) {
    add<&mixed_cell_of<Call>>(m,
                              "mixed_cell(int program, Tensor s0, Tensor s1, Tensor weights, Tensor op_weights,"
                              " Tensor? edge_weights, Tensor? running, Tensor? pattern, Tensor? dropout,"
                              " Tensor? skip_beta, Tensor? dropout_scale, bool half)"
                              " -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
    add<&mixed_cell_backward_of<Call>>(
        m,
        "mixed_cell_backward(int program, Tensor s0, Tensor s1, Tensor weights, Tensor op_weights,"
        " Tensor? edge_weights, Tensor? dropout, Tensor out, Tensor states, Tensor saved, Tensor stats,"
        " Tensor pattern, Tensor grad, Tensor? skip_beta, Tensor? dropout_scale, bool training, bool want_s0,"
        " bool want_s1, bool want_weights) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

}  // namespace sgl_fast
