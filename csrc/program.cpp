#include "program.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace sgl_fast {
namespace {

using rows::OUT;

// Checks that what the rows name lies inside their tables and tensors: after this, executors trust them.
struct Checked {
    const Tables& t;
    const rows::Head& head = t.head;
    int64_t pixels = int64_t(head.H_out) * head.W_out;

    void need(bool holds, const char* what) const {
        if (!holds) throw std::invalid_argument(std::string("need a program of ") + what);
    }
    void within(int64_t first, int64_t count, int64_t size, const char* what) const {
        need(first >= 0 && count >= 0 && first + count <= size, what);
    }
    void optional(int64_t first, int64_t count, int64_t size, const char* what) const {
        if (first != OUT) within(first, count, size, what);
    }

    void all() const {
        sizes();
        for (const rows::Conv& conv : t.convs) check(conv);
        for (const rows::Pool& pool : t.pools) check(pool);
        for (const rows::Use& use : t.uses) check(use);
        for (const rows::Edge& edge : t.edges) check(edge);
        for (const rows::Edge& edge : t.out_edges) check(edge);
        for (const rows::Term& term : t.terms) check(term);
        for (size_t j = 0; j < t.states.size(); j++) check(t.states[j], int(j));
    }

    void sizes() const {
        for (int size : {head.C, head.M, head.nodes, head.ops, head.H, head.W, head.H_out, head.W_out})
            need(size > 0, "positive sizes");
        for (int size : {head.weights, head.norms, head.measured, head.saved, head.pattern, head.dropouts, head.inputs})
            need(size >= 0, "sizes that are not negative");
        need(head.C % head.M == 0 && head.measured <= head.norms, "mixed channels that divide all");
        need((head.H == head.H_out && head.W == head.W_out) || (head.H == 2 * head.H_out && head.W == 2 * head.W_out),
             "stride 1 or 2");
        const size_t nodes = head.nodes;
        need(t.states.size() == nodes + 1 && t.edges.size() == nodes * (nodes + 3) / 2 &&
                 t.out_edges.size() == t.edges.size(),
             "a state a node and the edges between them");
        within(0, head.inputs, t.convs.size(), "convolutions of its inputs");
        bool has_convs[2]{};
        for (int i = 0; i < head.inputs; i++) {
            const int reads = t.convs[i].reads;
            within(reads, 1, 2, "inputs that exist");
            need(i == 0 || reads >= t.convs[i - 1].reads, "convolutions of its inputs in order");
            need(!has_convs[reads] || t.convs[i].ins == t.convs[i - 1].ins, "inputs of one size");
            has_convs[reads] = true;
        }
        need(has_convs[0] == (head.preprocess != 0) && has_convs[1] == has_convs[0],
             "convolutions of its inputs where it preprocesses them");
    }

    bool is_input(const rows::Conv& conv) const { return &conv - t.convs.data() < head.inputs; }

    void check(const rows::Conv& c) const {
        const bool input = is_input(c);
        const int64_t in_pixels = int64_t(head.H) * head.W;
        need((c.kernel == 1) == (c.depthwise == OUT), "1x1 convolutions without a depthwise one");
        need((c.kernel == 1 || c.kernel == 3 || c.kernel == 5 || c.kernel == 7) &&
                 (c.dilation == 1 || c.dilation == 2) && (c.stride == 1 || c.stride == 2) && c.first >= 0 &&
                 c.first < c.stride && c.reads >= 0 && c.reads <= 1,
             "convolutions of 3x3, 5x5 or 7x7, dilated by 1 or 2, or 1x1");
        need(
            c.height == c.stride * (input ? head.H : head.H_out) && c.width == c.stride * (input ? head.W : head.W_out),
            "convolutions of its sizes");
        need(c.ins > 0 && c.outs > 0 && (input || (c.ins == head.M && c.outs <= head.C)),
             "convolutions of its channels");
        need(c.kernel == 1 || (c.ins == head.M && c.outs == head.M), "depthwise convolutions of its mixed channels");
        optional(c.depthwise, int64_t(c.ins) * c.kernel * c.kernel, head.weights, "weights in their tensor");
        within(c.pointwise, int64_t(c.ins) * c.outs, head.weights, "weights in their tensor");
        within(c.norm, c.outs, head.measured, "norms in their tensor");
        optional(c.norm_in, c.ins, head.norms, "norms in their tensor");
        within(c.relu_mask, int64_t(c.ins) * c.height * mask_row(c.width), head.pattern, "masks in the pattern");
        within(c.z, c.outs * (input ? in_pixels : pixels), input ? 2 * head.C * in_pixels : head.saved,
               "results in their tensor");
        optional(c.edge, 1, t.edges.size(), "edges that exist");
        optional(c.op, 1, head.ops, "operations that exist");
        if (!input) gradient(c);
    }

    // The gradients of hidden activations follow those of all nodes.
    void gradient(const rows::Conv& c) const {
        const int64_t nodes = head.nodes * head.C * pixels, end = c.grad + int64_t(c.outs - 1) * c.grad_step + pixels;
        if (c.edge != OUT)
            return need(c.grad >= 0 && c.grad_step == head.C / head.M * pixels && end <= nodes, "gradients of nodes");
        int64_t hidden = 0;
        for (const rows::State& s : t.states) hidden += s.halves;
        need(c.grad >= nodes && c.grad_step == pixels && end <= nodes + hidden * head.M * pixels,
             "gradients of hidden activations");
    }

    void half(const rows::Conv& c) const {
        need(!is_input(c) && c.stride == 1 && c.kernel > 1 && c.norm_in != OUT && c.edge != OUT,
             "second halves of separable convolutions");
        within(c.offset, c.ins * pixels, head.saved, "hidden activations in their tensor");
    }

    void check(const rows::Pool& p) const {
        const bool bypass = p.first > 0;
        need(p.kernel == (bypass ? 2 : 3) && p.padding == !bypass && (p.stride == 1 || p.stride == 2) &&
                 (!bypass || p.is_max),
             "pools of 3x3, those of bypassing channels of 2x2");
        need(p.first == (bypass ? head.M : 0) && p.channels == (bypass ? head.C - head.M : head.M),
             "pools of its channels");
        need(p.height == p.stride * head.H_out && p.width == p.stride * head.W_out, "pools of its sizes");
        within(p.z, p.channels * pixels, head.saved, "results in their tensor");
        if (p.is_max)
            within(p.argmax, int64_t(p.channels) * head.H_out * argmax_row(head.W_out), head.pattern,
                   "argmax in the pattern");
        optional(p.norm, p.channels, head.measured, "norms in their tensor");
        within(p.first_use, p.uses, t.uses.size(), "uses that exist");
        need(bypass || p.uses > 0, "pools that an edge uses");
    }

    void check(const rows::Use& use) const {
        within(use.edge, 1, t.edges.size(), "edges that exist");
        within(use.node, 1, head.nodes, "nodes that exist");
        within(use.op, 1, head.ops, "operations that exist");
        within(use.norm, head.M, head.norms, "norms in their tensor");
    }

    void check(const rows::Edge& e) const {
        within(e.node, 1, head.nodes, "nodes that exist");
        within(e.source, 1, e.node + 2, "sources before their nodes");
        need(e.edge == e.node * (e.node + 3) / 2 + e.source, "edges in canonical order");
        optional(e.skip, 1, head.ops, "operations that exist");
        optional(e.dropout, 1, head.dropouts, "dropout masks that exist");
        optional(e.bypass, (head.C - head.M) * pixels, head.saved, "results in their tensor");
        within(e.first_term, e.terms, t.terms.size(), "terms that exist");
        need(e.terms <= head.ops + 1, "a term an operation");
    }

    void check(const rows::Term& term) const {
        optional(term.op, 1, head.ops, "operations that exist");
        const int channels = term.op == OUT ? head.C : head.M;
        within(term.norm, channels, head.norms, "norms in their tensor");
        within(term.z, channels * pixels, head.saved, "results in their tensor");
    }

    void check(const rows::State& s, int j) const {
        const bool is_input = j < 2;
        need(s.height == (is_input ? head.H : head.H_out) && s.width == (is_input ? head.W : head.W_out) &&
                 s.height == s.stride * head.H_out,
             "states of its sizes");
        within(s.offset, head.C * int64_t(s.height) * s.width,
               is_input ? (head.preprocess ? 2 : 1) * head.C * int64_t(head.H) * head.W : head.nodes * head.C * pixels,
               "states in their tensor");
        within(s.first_pool, s.pools + (s.argmax != OUT), t.pools.size(), "pools that exist");
        within(s.first_edge, s.edges, t.out_edges.size(), "edges that exist");
        within(s.first_conv, s.convs, t.convs.size(), "convolutions that exist");
        within(s.first_half, s.halves, t.convs.size(), "convolutions that exist");
        optional(s.norm_in, head.C, head.measured, "norms in their tensor");
        need((s.norm_in != OUT) == (is_input && head.preprocess) && (s.relu_mask != OUT) == (s.convs > 0),
             "states that are normalised once");
        optional(s.relu_mask, head.M * s.height * int64_t(mask_row(s.width)), head.pattern, "masks in the pattern");
        for (int i = 0; i < s.edges; i++) need(t.out_edges[s.first_edge + i].source == j, "edges out of their source");
        for (int i = 0; i < s.convs; i++)
            need(t.convs[s.first_conv + i].stride == s.stride, "convolutions of their state");
        for (int i = 0; i < s.halves; i++) half(t.convs[s.first_half + i]);
        int hidden = 0;
        for (int i = 0; i < s.convs; i++) hidden += t.convs[s.first_conv + i].edge == OUT;
        need(hidden == s.halves, "a second half for each first one");
        for (int i = 0; i < s.pools + (s.argmax != OUT); i++)
            need(
                (t.pools[s.first_pool + i].first > 0) == (i == s.pools) && t.pools[s.first_pool + i].stride == s.stride,
                "pools of their state");
        need(s.pools <= 2 && (s.pools < 2 || t.pools[s.first_pool].is_max != t.pools[s.first_pool + 1].is_max),
             "one max-pool and one average pool a state at most");
    }
};

}  // namespace

Program::Program(Tables tables) : Tables(std::move(tables)) {
    Checked{*this}.all();
    for (int i = 0; i < head.inputs; i++)
        for (int which = convs[i].reads; which < 2; which++) first_input[which + 1] = i + 1;
    for (const rows::Edge& e : edges) add_sum(e);
    for (const rows::State& s : states) hidden_count += s.halves;
    for (const rows::Conv& conv : convs) largest_reach = std::max(largest_reach, rows::reach_of(conv));
}

void Program::add_sum(const rows::Edge& e) {
    const size_t first = sums.size();
    sums.insert(sums.end(), terms.begin() + e.first_term, terms.begin() + e.first_term + e.terms);
    if (e.skip != OUT) sums.push_back({e.skip, OUT, OUT});
    if (e.aux) sums.push_back({OUT, OUT, OUT});
    std::stable_sort(sums.begin() + first, sums.end(), [](const rows::Term& a, const rows::Term& b) {
        return unsigned(a.op) < unsigned(b.op);  // OUT, an auxiliary skip, is the largest
    });
    first_sum.push_back(int(sums.size()));
}

}  // namespace sgl_fast
