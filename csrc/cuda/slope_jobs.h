// The jobs of a cell's backward, written from its program.
#pragma once

#include <vector>

#include "cell_jobs.h"
#include "weight_gradient.cuh"
#include "wide_gradient.cuh"

namespace sgl_fast {

// A convolution of the cell, as both directions see it; its place among the parts of the cell decides when it is undone.
struct Undo {
    ConvJob conv;
    Slope slope;
};

inline SlopeJob slope_job(const Undo& undo) {
    const ConvJob& c = undo.conv;
    return {undo.slope, c.outs, c.kernel, c.dilation, c.stride, c.first, c.depthwise, c.pointwise};
}

// Whose gradient the result of a convolution receives.
inline Slope slope_of(const Program& program, const rows::Conv& conv, const ConvJob& job) {
    Slope slope{Above::node, 0, 0, conv.z, conv.norm, conv.edge, conv.op};
    if (job.from == From::input) {
        slope.above = Above::state;
        slope.index = conv.reads;
        slope.channel = conv.norm - program.states[conv.reads].norm_in;
    } else if (conv.edge == rows::OUT) {
        slope.above = Above::hidden;
        slope.index = program.hidden_of(conv);
    } else {
        slope.index = program.edges[conv.edge].node;
        slope.channel = static_cast<int>(conv.grad % (program.head.C * program.out_pixels())) / conv.grad_step;
    }
    return slope;
}

inline std::vector<Undo> undos_of(const Program& program, const std::vector<ConvJob>& jobs, const rows::Conv* conv) {
    std::vector<Undo> undos;
    for (const ConvJob& job : jobs) undos.push_back({job, slope_of(program, *conv++, job)});
    return undos;
}

inline std::vector<Undo> input_undos(const Program& program) {
    return undos_of(program, input_jobs(program), program.input_convs(0).first);
}

inline std::vector<Undo> source_undos(const Program& program, int j) {
    return undos_of(program, source_jobs(program, j), program.convs_of(program.states[j]).first);
}

inline std::vector<Undo> half_undos(const Program& program, int j) {
    return undos_of(program, half_jobs(program, j), program.halves_of(program.states[j]).first);
}

inline Target hidden_target(const Program& program, const Undo& undo, int hidden, int job) {
    const rows::Head& head = program.head;
    return {To::hidden, hidden, head.H_out, head.W_out, head.H_out, head.W_out, head.M, job, 1, undo.conv.bits, undo.conv.index,
            undo.conv.from_norm, undo.conv.pad()};
}

inline Target state_target(const Program& program, int j, int first, int jobs) {
    const rows::State& s = program.states[j];
    return {To::state, j, s.height, s.width, program.head.H_out, program.head.W_out, program.head.M, first, jobs, s.relu_mask, 0, s.norm_in, pad_for(program.reach_of(s))};
}

inline Target input_target(const Program& program, int which, int first, int jobs) {
    const rows::Conv& conv = program.input_convs(which)[0];
    return {To::input, which, conv.height, conv.width, program.head.H, program.head.W, conv.ins, first, jobs, conv.relu_mask, 0, NO_NORM, PAD};
}

inline MixtureJob mixture_job(const Program& program) {
    MixtureJob job{};
    for (const rows::Edge& e : program.edges) {
        const InEdge edge = in_edge(program, e);
        MixtureEdge& to = job.edge[e.edge];
        to.terms = edge.terms;
        for (int t = 0; t < edge.terms; t++) to.term[t] = {edge.term[t].op, edge.term[t].norm};
    }
    return job;
}

inline StateJob state_job(const Program& program, int j) {
    const rows::State& s = program.states[j];
    StateJob job{};
    job.stride = s.stride;
    job.max_z = job.avg_z = -1;
    need_at_most("edges out of a state", s.edges, MOST_EDGES);
    for (const rows::Edge& e : program.out_edges_of(s))
        job.edge[job.edges++] = {e.edge, e.node, e.skip, e.dropout, e.aux, -1, 0, -1, 0};
    for (const rows::Pool& pool : program.pools_of(s)) {
        (pool.is_max ? job.max_z : job.avg_z) = pool.z;
        if (pool.is_max) job.codes = pool.argmax;
        for (const rows::Use& use : program.uses_of(pool))
            for (OutEdge& edge : job.edge) {
                if (&edge - job.edge >= job.edges || edge.edge != use.edge) continue;
                (pool.is_max ? edge.max_op : edge.avg_op) = use.op;
                (pool.is_max ? edge.max_norm : edge.avg_norm) = use.norm;
            }
    }
    for (const rows::Pool& pool : program.bypass_of(s)) job.bypass_codes = pool.argmax;
    return job;
}

}  // namespace sgl_fast
