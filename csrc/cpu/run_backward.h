// The phases of the backward, one after the other.
#pragma once

#include "blocks.h"
#include "hidden.h"
#include "image_groups.h"
#include "nodes.h"
#include "preprocess.h"
#include "sources.h"

ISA_NAMESPACE_BEGIN

inline void Backward::node(int node) const {
    on_threads(space, [&](Scratch scratch, int first, int last) {
        NodeBackward sums(*this, node, scratch);
        each_image(*this, first, last, [&](int v, int n) { sums.image(v, n); });
    });
    finish_node(node);
}

inline void Backward::hidden(int j) const {
    const rows::State& s = program.states[j];
    if (!s.halves) return;
    on_threads(space, [&](Scratch scratch, int first, int last) {
        HiddenBackward work(*this, j, scratch);
        each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
    });
    for (const rows::Conv& half : program.halves_of(s)) finish(half.norm_in, M, pixels);
}

inline void Backward::sources(int j) const {
    on_threads(space, [&](Scratch scratch, int first, int last) {
        SourceBackward work(*this, j, scratch);
        if (j < 2) return each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
        NodeBackward sums(*this, j - 2, scratch);
        each_image(*this, first, last, [&](int v, int n) {
            work.image(v, n);
            sums.image(v, n);
        });
    });
    if (j >= 2) finish_node(j - 2);
}

inline void Backward::preprocess() const {
    for (int which = 0; which < 2; which++) finish(program.states[which].norm_in, C, in_pixels, true);
    on_threads(space, [&](const Scratch& scratch, int first, int last) {
        for (int which = 0; which < 2; which++) {
            if (!wanted.weights && !wanted.s[which]) continue;
            Scratch reused = scratch;
            PreprocessBackward work(*this, which, reused);
            each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
        }
    });
}

// Gradients of the softmaxed alphas (op_weights) and of the edge weights: sums of a node's gradient with what each
// adds.
inline void Backward::alpha_beta_grad() const {
    size_t E = program.edges.size(), O = head.ops;
    fill_zeros(wanted.op_weights, V * E * O);
    auto total = [&](int v, size_t norm) {
        double sum = 0;
        for (int c = 0; c < M; c++) sum += buffers.sum_dy_xhat[v * head.norms + norm + c];
        return sum;
    };
    for (int v = 0; v < V; v++)
        for (const rows::Edge& e : program.edges) {
            double skips = 0, edge = 0, weight = edge_weight(v, e.edge);
            for (int n = 0; n < N; n++) {
                skips += skip(v, n)[e.edge];
                edge += bypass(v, n)[e.edge];
            }
            for (const rows::Term& term : program.sum_of(e)) {
                double dot = term.norm == rows::OUT ? skips : total(v, term.norm);
                if (term.op != rows::OUT) wanted.op_weights[(v * E + e.edge) * O + term.op] = float(weight * dot);
                edge += op_weight(v, e.edge, term.op) * dot;
            }
            if (wanted.edge_weights) wanted.edge_weights[v * E + e.edge] = float(edge);
        }
}

inline void Backward::run() const {
    if (wanted.weights)
        on_threads(space, [&](const Scratch&, int first, int last) {
            each_image(*this, first, last, [&](int v, int n) {
                if (n % group_size == 0) fill_zeros(group_dw(v, n), head.weights);
            });
        });
    node(head.nodes - 1);
    for (int j = head.nodes; j >= 0; j--) {
        hidden(j);
        sources(j);
    }
    if (needs_preprocess()) preprocess();
    if (wanted.weights) sum_groups(pool, V, groups(), head.weights, buffers.weights, wanted.weights);
    alpha_beta_grad();
}

inline void run_backward(const Pool& pool, const Program& program, const CellInputs& in, const CellSaved& saved,
                         const float* out, const float* grad, const CellGradients& wanted) {
    Workspace space;
    BackwardBuffers buffers{};
    Backward backward{{pool, program, in, saved, out}, space, buffers, grad, wanted};
    const rows::Head& head = program.head;
    size_t images = size_t(in.V) * in.N, norms = size_t(in.V) * head.norms, hidden = 0;
    for (const rows::State& s : program.states) hidden = s.halves > int(hidden) ? s.halves : hidden;
    if (wanted.weights) backward.group_size = images_per_group(in.N, backward.pixels);
    size_t threads = backward.threads();
    space.scratch_floats = scratch_floats<PreprocessBackward, SourceBackward, HiddenBackward, NodeBackward>(backward);
    struct {
        float** buffer;
        size_t floats;
    } parts[] = {
        {&space.scratch, threads * space.scratch_floats},
        {&space.partial[0], images * head.norms},
        {&space.partial[1], images * head.norms},
        {&buffers.mean_dy, norms},
        {&buffers.mean_dy_xhat, norms},
        {&buffers.sum_dy_xhat, norms},
        {&buffers.skip, images * program.edges.size()},
        {&buffers.bypass, images * program.edges.size()},
        {&buffers.nodes, images * (head.nodes - 1) * head.C * program.out_pixels()},
        {&buffers.states, head.preprocess ? images * 2 * head.C * program.in_pixels() : 0},
        {&buffers.hidden, images * hidden * head.M * program.out_pixels()},
        {&buffers.weights, wanted.weights ? size_t(in.V) * backward.groups() * head.weights : 0},
    };
    size_t total = 0;
    for (const auto& part : parts) total += (part.floats + 15) / 16 * 16;
    const Block block(total);
    float* memory = block.memory;
    for (const auto& part : parts) {
        *part.buffer = memory;
        memory += (part.floats + 15) / 16 * 16;
    }
    backward.run();
}

ISA_NAMESPACE_END
