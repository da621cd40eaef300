// The jobs of a cell's forward, written from its program.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "../mixed_cell.h"
#include "jobs.h"

namespace sgl_fast {

inline void need_at_most(const char* what, size_t count, size_t most) {
    if (count > most)
        throw std::runtime_error("need at most " + std::to_string(most) + " " + what + "; got " +
                                 std::to_string(count));
}

template <class T> void append(std::vector<T>& to, const std::vector<T>& more) {
    to.insert(to.end(), more.begin(), more.end());
}

inline CellView view_of(const Program& program, const CellInputs& in, bool replay, const CellSaved& saved, float* out) {
    const rows::Head& head = program.head;
    CellView view{};
    view.V = in.V;
    view.N = Divisor(in.N);
    view.C = head.C;
    view.M = Divisor(head.M);
    view.partial = Divisor(head.C / head.M);
    view.others = Divisor(view.partial - 1);
    view.nodes = head.nodes;
    view.H = head.H;
    view.W = head.W;
    view.out_H = head.H_out;
    view.out_W = head.W_out;
    view.tiling = Tiling(view.out_H, view.out_W);
    view.preprocess = head.preprocess;
    view.training = in.training;
    view.replay = replay;
    for (int i = 0; i < 2; i++) {
        view.s[i] = in.s[i];
        view.learner[i] = in.learner[i];
        view.image[i] = in.image[i];
        view.state_norm[i] = std::max(program.states[i].norm_in, 0);
    }
    view.weights = in.weights;
    view.weights_row = in.weights_row;
    view.op_weights = in.op_weights;
    view.edge_weights = in.edge_weights;
    view.edges = static_cast<int>(program.edges.size());
    view.ops_per_edge = head.ops;
    view.skip_beta = in.skip_beta;
    view.dropout_scale = in.dropout_scale;
    view.dropout = in.dropout;
    view.states = saved.states;
    view.saved = {saved.activations, saved.half};
    view.stats = saved.stats;
    view.out = out;
    view.pattern = saved.pattern;
    view.saved_size = head.saved;
    view.pattern_bytes = head.pattern;
    view.norms = head.norms;
    view.measured = head.measured;
    return view;
}

// index: of the input or state; offset of saved planes.
inline ConvJob conv_job(const rows::Conv& conv, From from, int index, bool record) {
    ConvJob job{};
    job.from = from;
    job.index = index;
    job.from_norm = conv.norm_in;
    job.in_H = conv.height;
    job.in_W = conv.width;
    job.out_H = conv.height / conv.stride;
    job.out_W = conv.width / conv.stride;
    job.in = Tiling(job.in_H, job.in_W);
    job.octets = OctetTiling(job.in_H, job.in_W);
    job.kernel = conv.kernel;
    job.dilation = conv.dilation;
    job.stride = conv.stride;
    job.first = conv.first;
    job.ins = conv.ins;
    job.outs = Divisor(conv.outs);
    job.taps = Divisor(conv.kernel == 1 ? 0 : conv.kernel * conv.kernel);
    job.relu_mask = conv.relu_mask;
    job.record = record;
    job.depthwise = std::max(conv.depthwise, 0);
    job.pointwise = conv.pointwise;
    job.z = conv.z;
    job.norm = conv.norm;
    return job;
}

inline std::vector<ConvJob> input_jobs(const Program& program) {
    std::vector<ConvJob> jobs;
    for (int which = 0; which < 2; which++)
        for (const rows::Conv& conv : program.input_convs(which))
            jobs.push_back(conv_job(conv, From::input, which, !conv.first));
    return jobs;
}

// Everything with weights on a state's out-edges but the second halves of separable convolutions.
inline std::vector<ConvJob> source_jobs(const Program& program, int j) {
    std::vector<ConvJob> jobs;
    for (const rows::Conv& conv : program.convs_of(program.states[j]))
        jobs.push_back(conv_job(conv, From::state, j, jobs.empty()));
    return jobs;
}

inline std::vector<ConvJob> half_jobs(const Program& program, int j) {
    std::vector<ConvJob> jobs;
    for (const rows::Conv& conv : program.halves_of(program.states[j]))
        jobs.push_back(conv_job(conv, From::saved, conv.offset, true));
    return jobs;
}

inline void add_pool_job(PoolJobs& jobs, int& count, const Program& program, int j) {
    const rows::State& s = program.states[j];
    if (!s.pools && s.argmax == rows::OUT) return;
    PoolJob& job = jobs.job[count++];
    job.state = j;
    job.stride = s.stride;
    job.out_H = program.head.H_out;
    job.out_W = program.head.W_out;
    job.octets = OctetTiling(s.height, s.width);
    for (const rows::Pool& pool : program.pools_of(s)) {
        (pool.is_max ? job.max_pool : job.avg_pool) = true;
        (pool.is_max ? job.max_z : job.avg_z) = pool.z;
        (pool.is_max ? job.max_norm : job.avg_norm) = pool.norm;
        job.normed |= pool.norm != rows::OUT;
        if (pool.is_max) job.argmax = pool.argmax;
        need_at_most("edges out of a state", pool.uses, MOST_OUT_EDGES);
        for (const rows::Use& use : program.uses_of(pool))
            (pool.is_max ? job.max_norms[job.max_edges++] : job.avg_norms[job.avg_edges++]) = use.norm;
    }
    for (const rows::Pool& pool : program.bypass_of(s)) {
        job.bypass = true;
        job.bypass_z = pool.z;
        job.bypass_argmax = pool.argmax;
    }
}

inline InEdge in_edge(const Program& program, const rows::Edge& e) {
    InEdge edge{e.edge, e.source, e.bypass, e.dropout, 0, 0, {}};
    need_at_most("operations of an edge", program.sum_of(e).count, MOST_TERMS);
    for (const rows::Term& term : program.sum_of(e))
        edge.term[edge.terms++] = {term.op, std::max(term.z, 0), term.norm};
    const auto normed = [](const Term& term) { return term.norm != NO_NORM; };
    edge.normed = static_cast<int>(std::stable_partition(edge.term, edge.term + edge.terms, normed) - edge.term);
    return edge;
}

inline NodeJob node_job(const Program& program, int node) {
    NodeJob job{};
    job.node = node;
    need_at_most("edges into a node", node + 2, MOST_IN_EDGES);
    int edges = 0, terms = 0;
    for (const rows::Edge& e : program.in_edges_of(node)) {
        job.edge[edges++] = in_edge(program, e);
        terms = std::max(terms, program.sum_of(e).count);
    }
    job.edges = Divisor(edges);
    job.terms = Divisor(terms);
    return job;
}

}  // namespace sgl_fast
