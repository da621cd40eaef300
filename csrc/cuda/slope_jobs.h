// The jobs of a cell's backward, written from its plan.
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

// Middle gradients are numbered through all states up to j, since the weights' gradients come after all of them.
inline int middles_before(const Plan& plan, size_t j) {
    int count = 0;
    for (size_t i = 0; i < j; i++) count += plan.states[i].middles;
    return count;
}

// Slopes of conv jobs in the order in which cell_jobs.h writes them.
inline Slope slope_of(Above above, int index, const ConvJob& job, int channel, int edge, int op) {
    return {above, index, channel, job.z, job.norm, edge, op};
}

inline std::vector<Undo> preprocess_undos(const Plan& plan) {
    std::vector<Undo> undos;
    for (const ConvJob& job : preprocess_jobs(plan)) {
        const int channel = job.norm - static_cast<int>(plan.preprocess[job.index].norm);
        undos.push_back({job, slope_of(Above::state, job.index, job, channel, -1, -1)});
    }
    return undos;
}

inline std::vector<Undo> source_undos(const Plan& plan, int j) {
    std::vector<ConvJob> jobs;
    add_source_jobs(jobs, plan, j);
    std::vector<Undo> undos;
    auto next = [&] { return jobs[undos.size()]; };
    auto reduction = [&](const Edge& e, int op) {
        const int norm = next().norm;
        for (int half = 0; half < 2; half++) {
            const ConvJob job = next();
            undos.push_back({job, slope_of(Above::node, e.node, job, job.norm - norm, e.index, op)});
        }
    };
    for (int index : plan.states[j].out_edges) {
        const Edge& e = plan.edges[index];
        for (const Mixed& m : e.ops) {
            if (m.op == Op::skip && e.stride == 2) reduction(e, m.index);
            if (!m.conv()) continue;
            const ConvJob job = next();
            undos.push_back({job, m.separable() ? slope_of(Above::middle, middles_before(plan, j) + m.middle, job, 0, -1, -1)
                                                : slope_of(Above::node, e.node, job, 0, e.index, m.index)});
        }
        if (e.aux && e.stride == 2) reduction(e, -1);
    }
    return undos;
}

inline std::vector<Undo> middle_undos(const Plan& plan, int j) {
    std::vector<ConvJob> jobs;
    add_middle_jobs(jobs, plan, j);
    std::vector<Undo> undos;
    for (int index : plan.states[j].out_edges) {
        const Edge& e = plan.edges[index];
        for (const Mixed& m : e.ops) {
            if (!m.separable()) continue;
            const ConvJob job = jobs[undos.size()];
            undos.push_back({job, slope_of(Above::node, e.node, job, 0, e.index, m.index)});
        }
    }
    return undos;
}

inline Target middle_target(const Plan& plan, const Undo& undo, int middle, int job) {
    return {To::middle, middle, plan.out_H, plan.out_W, plan.out_H, plan.out_W, plan.mixed_channels, job, 1, undo.conv.bits,
            undo.conv.index, undo.conv.from_norm};
}

inline Target state_target(const Plan& plan, int j, int first, int jobs) {
    const State& s = plan.states[j];
    const bool normed = j < 2 && plan.cell.preprocess;
    return {To::state, j, s.H, s.W, s.out_H, s.out_W, plan.mixed_channels, first, jobs,
            s.active ? static_cast<int>(s.bits) : -1, 0, normed ? static_cast<int>(plan.preprocess[j].norm) : NO_NORM};
}

inline Target input_target(const Plan& plan, int which, int first, int jobs) {
    const Preprocess& p = plan.preprocess[which];
    return {To::input, which, p.H, p.W, plan.H, plan.W, p.channels, first, jobs, static_cast<int>(p.bits), 0, NO_NORM};
}

inline MixtureJob mixture_job(const Plan& plan) {
    MixtureJob job{};
    for (const Edge& e : plan.edges) {
        const InEdge edge = in_edge(plan, e);
        MixtureEdge& to = job.edge[e.index];
        to.terms = edge.terms;
        for (int t = 0; t < edge.terms; t++) to.term[t] = {edge.term[t].op, edge.term[t].norm};
    }
    return job;
}

inline StateJob state_job(const Plan& plan, int j) {
    const State& s = plan.states[j];
    StateJob job{};
    job.stride = s.stride;
    job.max_z = s.max_pool ? static_cast<int>(s.max_z) : -1;
    job.avg_z = s.avg_pool ? static_cast<int>(s.avg_z) : -1;
    job.codes = static_cast<int>(s.codes);
    job.bypass_codes = static_cast<int>(s.bypass_codes);
    need_at_most("edges out of a state", s.out_edges.size(), MOST_EDGES);
    for (int index : s.out_edges) {
        const Edge& e = plan.edges[index];
        OutEdge edge{e.index, e.node, -1, e.dropout, e.aux && e.stride == 1, -1, 0, -1, 0};
        for (const Mixed& m : e.ops) {
            if (m.op == Op::skip && e.stride == 1) edge.skip_op = m.index;
            if (m.op == Op::max_pool) edge.max_op = m.index, edge.max_norm = static_cast<int>(m.norm);
            if (m.op == Op::avg_pool) edge.avg_op = m.index, edge.avg_norm = static_cast<int>(m.norm);
        }
        job.edge[job.edges++] = edge;
    }
    return job;
}

}  // namespace sgl_fast
