// The jobs of a cell's kernels, written from its plan.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "../cpu/mixed_cell.h"
#include "combine.cuh"
#include "convolve.cuh"
#include "pool.cuh"
#include "wide.cuh"

namespace sgl_fast {

inline void need_at_most(const char* what, size_t count, size_t most) {
    if (count > most)
        throw std::runtime_error("need at most " + std::to_string(most) + " " + what + "; got " + std::to_string(count));
}

inline CellView view_of(const Plan& plan, const CellInputs& in, bool replay, const CellSaved& saved, float* out) {
    CellView view{};
    view.V = in.V;
    view.N = in.N;
    view.C = plan.cell.channels;
    view.M = plan.mixed_channels;
    view.nodes = plan.cell.nodes;
    view.H = plan.H;
    view.W = plan.W;
    view.out_H = plan.out_H;
    view.out_W = plan.out_W;
    view.preprocess = plan.cell.preprocess;
    view.training = in.training;
    view.replay = replay;
    for (int i = 0; i < 2; i++) {
        view.s[i] = in.s[i];
        view.learner[i] = in.learner[i];
        view.image[i] = in.image[i];
        view.state_norm[i] = static_cast<int>(plan.preprocess[i].norm);
    }
    view.weights = in.weights;
    view.weights_row = in.weights_row;
    view.op_weights = in.op_weights;
    view.edge_weights = in.edge_weights;
    view.edges = static_cast<int>(plan.edges.size());
    view.ops_per_edge = plan.cell.ops_per_edge;
    view.skip_beta = in.skip_beta;
    view.dropout_scale = in.dropout_scale;
    view.dropout = in.dropout;
    view.states = saved.states;
    view.planes = {saved.planes, saved.half};
    view.stats = saved.stats;
    view.out = out;
    view.pattern = saved.pattern;
    view.saved = plan.saved;
    view.pattern_bytes = plan.pattern;
    view.norms = static_cast<int>(plan.norms);
    view.measured = static_cast<int>(plan.measured);
    return view;
}

// Channels, weights and result of a convolution into saved planes.
inline ConvJob conv_job(int kernel, int dilation, int ins, int outs, size_t pointwise, size_t z, size_t norm) {
    ConvJob job{};
    job.kernel = kernel;
    job.dilation = dilation;
    job.ins = ins;
    job.outs = outs;
    job.pointwise = static_cast<int>(pointwise);
    job.to_state = -1;
    job.z = static_cast<int>(z);
    job.norm = static_cast<int>(norm);
    return job;
}

// A 1x1 convolution of stride 1, or one half of a factorised reduction: second says which.
inline ConvJob pointwise_job(int in_H, int in_W, int stride, bool second, int ins, int outs, size_t weights, size_t z, size_t norm) {
    ConvJob job = conv_job(1, 1, ins, outs, weights, z, norm);
    job.in_H = in_H;
    job.in_W = in_W;
    job.out_H = in_H / stride;
    job.out_W = in_W / stride;
    job.stride = stride;
    job.first = second;
    return job;
}

inline void add_reduction(std::vector<ConvJob>& jobs, const ConvJob& like, const Factorized& r, int outs) {
    const size_t pixels = size_t(like.in_H / 2) * (like.in_W / 2);
    for (int second = 0; second < 2; second++) {
        const size_t from = second * (outs / 2);
        ConvJob job = pointwise_job(like.in_H, like.in_W, 2, second, like.ins, outs / 2, second ? r.odd : r.even,
                                    r.z + from * pixels, r.norm + from);
        job.from = like.from;
        job.index = like.index;
        job.bits = like.bits;
        jobs.push_back(job);
    }
}

inline std::vector<ConvJob> preprocess_jobs(const Plan& plan) {
    std::vector<ConvJob> jobs;
    const int C = plan.cell.channels;
    for (int which = 0; which < 2; which++) {
        const Preprocess& p = plan.preprocess[which];
        const size_t first = jobs.size();
        if (p.shrink) {
            ConvJob like{};
            like.in_H = p.H;
            like.in_W = p.W;
            like.ins = p.channels;
            add_reduction(jobs, like, {p.weight, p.odd, p.norm, 0}, C);
        } else {
            jobs.push_back(pointwise_job(p.H, p.W, 1, false, p.channels, C, p.weight, 0, p.norm));
        }
        jobs[first].record = true;
        for (size_t i = first; i < jobs.size(); i++) {
            jobs[i].from = From::input;
            jobs[i].index = jobs[i].to_state = which;
            jobs[i].bits = static_cast<int>(p.bits);
        }
    }
    return jobs;
}

inline ConvJob separable_job(const Half& half, int kernel, int dilation, int M) {
    ConvJob job = conv_job(kernel, dilation, M, M, half.pointwise, half.z, half.norm);
    job.depthwise = static_cast<int>(half.depthwise);
    return job;
}

// Everything with weights on a state's out-edges but the second halves of separable convolutions.
inline void add_source_jobs(std::vector<ConvJob>& jobs, const Plan& plan, int j) {
    const State& s = plan.states[j];
    const size_t first = jobs.size();
    ConvJob like{};
    like.from = From::state;
    like.index = j;
    like.in_H = s.H;
    like.in_W = s.W;
    like.ins = plan.mixed_channels;
    like.bits = static_cast<int>(s.bits);
    for (int index : s.out_edges) {
        const Edge& e = plan.edges[index];
        for (const Mixed& m : e.ops) {
            if (m.op == Op::skip && e.stride == 2) add_reduction(jobs, like, m.reduce, plan.mixed_channels);
            if (!m.conv()) continue;
            ConvJob job = separable_job(m.first, m.kernel, m.dilation, plan.mixed_channels);
            job.from = From::state;
            job.index = j;
            job.in_H = s.H;
            job.in_W = s.W;
            job.out_H = s.out_H;
            job.out_W = s.out_W;
            job.stride = s.stride;
            job.bits = like.bits;
            jobs.push_back(job);
        }
        if (e.aux && e.stride == 2) add_reduction(jobs, like, e.aux_reduce, plan.cell.channels);
    }
    if (first < jobs.size()) jobs[first].record = true;
}

inline void add_middle_jobs(std::vector<ConvJob>& jobs, const Plan& plan, int j) {
    const State& s = plan.states[j];
    for (int index : s.out_edges)
        for (const Mixed& m : plan.edges[index].ops) {
            if (!m.separable()) continue;
            ConvJob job = separable_job(m.second, m.kernel, 1, plan.mixed_channels);
            job.from = From::saved;
            job.index = static_cast<int>(m.first.z);
            job.from_norm = static_cast<int>(m.first.norm);
            job.in_H = job.out_H = s.out_H;
            job.in_W = job.out_W = s.out_W;
            job.stride = 1;
            job.bits = static_cast<int>(m.middle_bits);
            job.record = true;
            jobs.push_back(job);
        }
}

inline void add_pool_job(PoolJobs& jobs, int& count, const Plan& plan, int j) {
    const State& s = plan.states[j];
    if (!s.max_pool && !s.avg_pool && !s.bypass) return;
    PoolJob& job = jobs.job[count++];
    job = {j, s.stride, s.out_H, s.out_W, s.max_pool, s.avg_pool, s.bypass, plan.cell.pool_norm, int(s.max_z), int(s.avg_z),
           int(s.bypass_z), int(s.codes), int(s.bypass_codes), int(s.max_norm), int(s.avg_norm), 0, 0, {}, {}};
    need_at_most("edges out of a state", s.out_edges.size(), MOST_EDGES);
    for (int index : s.out_edges)
        for (const Mixed& m : plan.edges[index].ops) {
            if (m.op == Op::max_pool) job.max_norms[job.max_edges++] = static_cast<int>(m.norm);
            if (m.op == Op::avg_pool) job.avg_norms[job.avg_edges++] = static_cast<int>(m.norm);
        }
}

inline InEdge in_edge(const Plan& plan, const Edge& e) {
    const State& s = plan.states[e.source];
    InEdge edge{e.index, e.source, s.bypass ? int(s.bypass_z) : -1, e.dropout, 0, {}};
    auto add = [&](int op, size_t z, size_t norm) { edge.term[edge.terms++] = {op, int(z), int(norm)}; };
    for (const Mixed& m : e.ops) {
        if (m.op == Op::max_pool) add(m.index, s.max_z, m.norm);
        if (m.op == Op::avg_pool) add(m.index, s.avg_z, m.norm);
        if (m.op == Op::skip && e.stride == 1) edge.term[edge.terms++] = {m.index, 0, NO_NORM};
        if (m.op == Op::skip && e.stride == 2) add(m.index, m.reduce.z, m.reduce.norm);
        if (m.conv()) add(m.index, m.separable() ? m.second.z : m.first.z, m.last_norm(e.stride));
    }
    if (e.aux && e.stride == 1) edge.term[edge.terms++] = {-1, 0, NO_NORM};
    if (e.aux && e.stride == 2) add(-1, e.aux_reduce.z, e.aux_reduce.norm);
    return edge;
}

inline NodeJob node_job(const Plan& plan, int node) {
    NodeJob job{};
    job.node = node;
    need_at_most("edges into a node", node + 2, MOST_IN_EDGES);
    for (const Edge& e : plan.edges)
        if (e.node == node) job.edge[job.edges++] = in_edge(plan, e);
    return job;
}

}  // namespace sgl_fast
