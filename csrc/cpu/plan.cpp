#include "plan.h"

namespace sgl_fast {
namespace {

// Hands out offsets in the canonical order of weights and norms.
struct Writer {
    Plan& plan;

    size_t weights(size_t n) { return take(plan.weights, n); }
    size_t norm(size_t channels) { return take(plan.norms, channels); }
    size_t saved(size_t floats) { return take(plan.saved, floats); }
    size_t bits(int channels, int H, int W) { return take(plan.pattern, channels * H * bit_row(W)); }
    size_t codes(int channels, int H, int W) { return take(plan.pattern, channels * H * code_row(W)); }

    Half half(int kernel) {
        size_t C = plan.mixed_channels;
        size_t depthwise = weights(C * kernel * kernel), pointwise = weights(C * C);
        return {depthwise, pointwise, norm(C), saved(C * plan.out_pixels())};
    }

    Factorized factorized(size_t in, size_t out) {
        size_t even = weights(out / 2 * in), odd = weights(out / 2 * in);
        return {even, odd, norm(out), saved(out * plan.out_pixels())};
    }

    Mixed mixed(Op op, int index, int stride, State& source) {
        Mixed m{};
        m.op = op;
        m.index = index;
        int C = plan.mixed_channels;
        if (m.pool() && plan.cell.pool_norm) m.norm = norm(C);
        if (op == Op::skip && stride == 2) m.reduce = factorized(C, C);
        if (!m.conv()) return m;
        m.kernel = op == Op::sep3 || op == Op::dil3 ? 3 : 5;
        m.dilation = m.separable() ? 1 : 2;
        m.first = half(m.kernel);
        if (m.separable()) {
            m.second = half(m.kernel);
            m.middle_bits = bits(C, plan.out_H, plan.out_W);
            m.middle = source.middles++;
        }
        return m;
    }

    Edge edge(int index, int source, int node) {
        State& state = plan.states[source];
        Edge e{index, source, node, state.stride, {}, plan.cell.aux_skip, {}, -1};
        const std::vector<Op>& ops = plan.cell.ops[index];
        for (size_t o = 0; o < ops.size(); o++) {
            if (ops[o] == Op::none) continue;
            e.ops.push_back(mixed(ops[o], int(o), e.stride, state));
            const Mixed& m = e.ops.back();
            state.active |= m.conv() || (m.op == Op::skip && e.stride == 2);
            if (m.op == Op::skip && e.stride == 1) e.dropout = plan.dropouts++;
        }
        if (e.aux && e.stride == 2) {
            e.aux_reduce = factorized(plan.cell.channels, plan.cell.channels);
            state.active = true;
        }
        return e;
    }

    Preprocess preprocess(int channels, bool shrink) {
        int scale = shrink ? 2 : 1, C = plan.cell.channels;
        Preprocess p{channels, scale * plan.H, scale * plan.W, shrink, 0, 0, 0, 0};
        p.weight = weights(size_t(shrink ? C / 2 : C) * channels);
        if (shrink) p.odd = weights(size_t(C / 2) * channels);
        p.norm = norm(C);
        p.bits = bits(channels, p.H, p.W);
        return p;
    }

    // Norms that change nothing, of pools without a batch norm: after all batch norms.
    void bare_pools() {
        plan.measured = plan.norms;
        for (Edge& e : plan.edges)
            for (Mixed& m : e.ops)
                if (m.pool() && !plan.cell.pool_norm) m.norm = norm(plan.mixed_channels);
    }

    // What the out-edges of a state share.
    void shared(State& s) {
        for (int e : s.out_edges)
            for (const Mixed& m : plan.edges[e].ops) {
                if (m.op == Op::max_pool && !s.max_pool) s.max_pool = true, s.max_norm = m.norm;
                if (m.op == Op::avg_pool && !s.avg_pool) s.avg_pool = true, s.avg_norm = m.norm;
            }
        int C = plan.mixed_channels, rest = plan.cell.channels - C;
        if (s.active) s.bits = bits(C, s.H, s.W);
        if (s.max_pool) s.max_z = saved(C * plan.out_pixels());
        if (s.max_pool) s.codes = codes(C, s.out_H, s.out_W);
        if (s.avg_pool) s.avg_z = saved(C * plan.out_pixels());
        s.bypass = rest > 0 && s.stride == 2 && !s.out_edges.empty();
        if (s.bypass) s.bypass_z = saved(rest * plan.out_pixels());
        if (s.bypass) s.bypass_codes = codes(rest, s.out_H, s.out_W);
    }

  private:
    static size_t take(size_t& total, size_t n) {
        total += n;
        return total - n;
    }
};

}  // namespace

Plan::Plan(const CellShape& cell, int H, int W)
    : cell(cell), mixed_channels(cell.channels / cell.partial), H(H), W(W), out_H(cell.reduction ? H / 2 : H),
      out_W(cell.reduction ? W / 2 : W), preprocess(), dropouts(0), weights(0), norms(0), saved(0), pattern(0), measured(0) {
    Writer writer{*this};
    if (cell.preprocess) {
        preprocess[0] = writer.preprocess(cell.c_prev_prev, cell.shrink0);
        preprocess[1] = writer.preprocess(cell.c_prev, false);
    }
    for (int j = 0; j < cell.nodes + 2; j++) {
        State s{};
        s.H = j < 2 ? H : out_H;
        s.W = j < 2 ? W : out_W;
        s.stride = cell.reduction && j < 2 ? 2 : 1;
        s.out_H = out_H;
        s.out_W = out_W;
        states.push_back(s);
    }
    for (int node = 0, index = 0; node < cell.nodes; node++)
        for (int source = 0; source < node + 2; source++, index++) {
            edges.push_back(writer.edge(index, source, node));
            states[source].out_edges.push_back(index);
        }
    writer.bare_pools();
    for (State& s : states) writer.shared(s);
}

}  // namespace sgl_fast
