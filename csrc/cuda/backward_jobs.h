// The jobs of a cell's backward, written from its program.
#pragma once

#include <vector>

#include "forward_jobs.h"
#include "grad_jobs.h"

namespace sgl_fast {

// A convolution of the cell, as both directions see it; its place among the parts of the cell decides when it is undone.
struct ConvGrad {
    ConvJob conv;
    GradZ grad_z;
};

inline DgradJob dgrad_job(const ConvGrad& conv_grad) {
    const ConvJob& c = conv_grad.conv;
    return {conv_grad.grad_z, {c.outs, c.kernel, c.dilation, c.stride, c.first, c.depthwise, c.pointwise}};
}

// Whose gradient the result of a convolution receives.
inline GradZ grad_z_of(const Program& program, const rows::Conv& conv, const ConvJob& job) {
    GradZ grad_z{Reader::node, 0, 0, conv.z, conv.norm, conv.edge, conv.op};
    if (job.from == From::input) {
        grad_z.reader = Reader::state;
        grad_z.index = conv.reads;
        grad_z.channel = conv.norm - program.states[conv.reads].norm_in;
    } else if (conv.edge == rows::OUT) {
        grad_z.reader = Reader::hidden;
        grad_z.index = program.hidden_of(conv);
    } else {
        grad_z.index = program.edges[conv.edge].node;
        grad_z.channel = static_cast<int>(conv.grad % (program.head.C * program.out_pixels())) / conv.grad_step;
    }
    return grad_z;
}

inline std::vector<ConvGrad> conv_grads_of(const Program& program, const std::vector<ConvJob>& jobs,
                                           const rows::Conv* conv) {
    std::vector<ConvGrad> conv_grads;
    for (const ConvJob& job : jobs) conv_grads.push_back({job, grad_z_of(program, *conv++, job)});
    return conv_grads;
}

inline std::vector<ConvGrad> input_conv_grads(const Program& program) {
    return conv_grads_of(program, input_jobs(program), program.input_convs(0).first);
}

inline std::vector<ConvGrad> source_conv_grads(const Program& program, int j) {
    return conv_grads_of(program, source_jobs(program, j), program.convs_of(program.states[j]).first);
}

inline std::vector<ConvGrad> half_conv_grads(const Program& program, int j) {
    return conv_grads_of(program, half_jobs(program, j), program.halves_of(program.states[j]).first);
}

inline Target hidden_target(const Program& program, const ConvGrad& conv_grad, int hidden, int job) {
    const rows::Head& head = program.head;
    return {To::hidden,
            hidden,
            head.H_out,
            head.W_out,
            head.H_out,
            head.W_out,
            head.M,
            job,
            1,
            conv_grad.conv.relu_mask,
            conv_grad.conv.index,
            conv_grad.conv.from_norm,
            conv_grad.conv.pad()};
}

inline Target state_target(const Program& program, int j, int first, int jobs) {
    const rows::State& s = program.states[j];
    return {To::state, j,    s.height,    s.width, program.head.H_out, program.head.W_out,          program.head.M,
            first,     jobs, s.relu_mask, 0,       s.norm_in,          pad_for(program.reach_of(s))};
}

// Sets how many outputs and taps a target's jobs have at most.
inline void find_most(const DgradJobs& jobs, Target& target) {
    for (int j = target.first_job; j < target.first_job + target.jobs; j++) {
        const DgradConv& conv = jobs.job[j].conv;
        target.outs = std::max(target.outs, conv.outs);
        if (conv.kernel > 1) target.taps = std::max(target.taps, conv.kernel * conv.kernel);
    }
}

inline Target input_target(const Program& program, int which, int first, int jobs) {
    const rows::Conv& conv = program.input_convs(which)[0];
    return {To::input,      which, conv.height, conv.width, program.head.H, program.head.W, conv.ins, first, jobs,
            conv.relu_mask, 0,     NO_NORM,     PAD};
}

inline AlphaBetaJob alpha_beta_job(const Program& program) {
    AlphaBetaJob job{};
    for (const rows::Edge& e : program.edges) {
        const InEdge edge = in_edge(program, e);
        AlphaBetaEdge& to = job.edge[e.edge];
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
    need_at_most("edges out of a state", s.edges, MOST_OUT_EDGES);
    for (const rows::Edge& e : program.out_edges_of(s))
        job.edge[job.edges++] = {e.edge, e.node, e.skip, e.dropout, e.aux, -1, 0, -1, 0};
    for (const rows::Pool& pool : program.pools_of(s)) {
        (pool.is_max ? job.max_z : job.avg_z) = pool.z;
        if (pool.is_max) job.argmax = pool.argmax;
        for (const rows::Use& use : program.uses_of(pool))
            for (OutEdge& edge : job.edge) {
                if (&edge - job.edge >= job.edges || edge.edge != use.edge) continue;
                (pool.is_max ? edge.max_op : edge.avg_op) = use.op;
                (pool.is_max ? edge.max_norm : edge.avg_norm) = use.norm;
            }
    }
    for (const rows::Pool& pool : program.bypass_of(s)) job.bypass_argmax = pool.argmax;
    return job;
}

}  // namespace sgl_fast
