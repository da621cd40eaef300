// One cell's program, which CPU and CUDA read: the int32 rows that sgl_fast/ops/plan.py writes, in the columns of
// sgl_fast/ops/rows.py, which says what each means; tests/ops/test_program.py compares both. Free of torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sgl_fast {
namespace rows {

constexpr int OUT = -1;  // nothing is there

struct Head {
    int32_t C, M, nodes, ops, preprocess, H, W, H_out, W_out, weights, norms, measured, saved, pattern, dropouts,
        inputs;
};

struct Conv {
    int32_t reads, offset, norm_in, height, width, relu_mask, ins, outs, depthwise, pointwise, kernel, dilation, stride,
        first, z, norm, grad, grad_step, edge, op, scratch;
};

// Pixels from the middle of its windows to their edge.
inline int reach_of(const Conv& conv) { return conv.kernel / 2 * conv.dilation; }

struct Pool {
    int32_t reads, offset, norm_in, height, width, first, channels, is_max, kernel, padding, stride, z, argmax, norm,
        first_use, uses;
};

struct Use {
    int32_t edge, node, op, norm;
};

struct Edge {
    int32_t edge, node, source, reads, offset, norm_in, skip, dropout, aux, bypass, first_term, terms;
};

struct Term {
    int32_t op, norm, z;
};

struct State {
    int32_t reads, offset, height, width, stride, argmax, first_pool, pools, first_edge, edges, norm_in, relu_mask,
        first_conv, convs, first_half, halves;
};

}  // namespace rows

// Consecutive rows of a table.
template <class Row> struct Rows {
    const Row* first;
    int count;

    const Row* begin() const { return first; }
    const Row* end() const { return first + count; }
    const Row& operator[](int i) const { return first[i]; }
};

struct Tables {
    rows::Head head;
    std::vector<rows::Conv> convs;
    std::vector<rows::Pool> pools;
    std::vector<rows::Use> uses;
    std::vector<rows::Edge> edges;      // in canonical order
    std::vector<rows::Edge> out_edges;  // in the order of their sources
    std::vector<rows::Term> terms;
    std::vector<rows::State> states;
};

class Program : Tables {
  public:
    // std::invalid_argument unless every row stays inside its tables and its tensors.
    explicit Program(Tables tables);

    using Tables::edges;
    using Tables::head;
    using Tables::states;

    size_t in_pixels() const { return size_t(head.H) * head.W; }
    size_t out_pixels() const { return size_t(head.H_out) * head.W_out; }
    Rows<rows::Conv> input_convs(int which) const {
        return {convs.data() + first_input[which], first_input[which + 1] - first_input[which]};
    }
    Rows<rows::Conv> convs_of(const rows::State& s) const { return {convs.data() + s.first_conv, s.convs}; }
    Rows<rows::Conv> halves_of(const rows::State& s) const { return {convs.data() + s.first_half, s.halves}; }
    // The pools of operations; the pool of a state's bypassing channels comes next in the table.
    Rows<rows::Pool> pools_of(const rows::State& s) const { return {pools.data() + s.first_pool, s.pools}; }
    Rows<rows::Pool> bypass_of(const rows::State& s) const {
        return {pools.data() + s.first_pool + s.pools, s.argmax != rows::OUT};
    }
    Rows<rows::Use> uses_of(const rows::Pool& p) const { return {uses.data() + p.first_use, p.uses}; }
    Rows<rows::Edge> out_edges_of(const rows::State& s) const { return {out_edges.data() + s.first_edge, s.edges}; }
    Rows<rows::Edge> in_edges_of(int node) const { return {edges.data() + node * (node + 3) / 2, node + 2}; }
    // The terms of an edge in its node's sum, in the order of its operations, an auxiliary skip last. A term of norm OUT is
    // the edge's source itself.
    Rows<rows::Term> sum_of(const rows::Edge& e) const {
        return {sums.data() + first_sum[e.edge], first_sum[e.edge + 1] - first_sum[e.edge]};
    }
    // Floats of an image's node gradients; those of its hidden activations follow.
    size_t node_gradients() const { return size_t(head.nodes) * head.C * out_pixels(); }
    // Number of the hidden activation that a first half of a separable convolution writes, or that a state's i-th
    // second half reads.
    int hidden_of(const rows::Conv& first) const {
        return int((first.grad - node_gradients()) / (head.M * out_pixels()));
    }
    int hidden_of(const rows::State& s, int i) const {
        for (const rows::Conv& conv : convs_of(s))
            if (conv.edge == rows::OUT && i-- == 0) return hidden_of(conv);
        return rows::OUT;
    }
    int hidden() const { return hidden_count; }
    // The farthest that windows reach past their middle: of all convolutions, of those that read a state.
    int reach() const { return largest_reach; }
    int reach_of(const rows::State& s) const {
        int most = 0;
        for (const rows::Conv& conv : convs_of(s)) most = rows::reach_of(conv) > most ? rows::reach_of(conv) : most;
        return most;
    }

  private:
    int first_input[3]{}, hidden_count = 0, largest_reach = 0;
    std::vector<rows::Term> sums;
    std::vector<int> first_sum{0};

    void add_sum(const rows::Edge& e);
};

// Bytes of a row of a ReLU's pattern: a bit an element; of an argmax: four bits an output.
inline size_t mask_row(int W) { return (W + 7) / 8; }
inline size_t argmax_row(int W) { return (W + 1) / 2; }

}  // namespace sgl_fast
