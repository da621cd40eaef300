// A node's sum over its in-edges, and the sums that its backward needs.
#pragma once

#include "backward.h"
#include "forward.h"

ISA_NAMESPACE_BEGIN

// One thread's sum of a node's in-edges.
struct NodeForward {
    const Forward& f;
    int node;
    const float** terms;
    float *means, *scales, *masked;

    NodeForward(const Forward& f, int node, Scratch& scratch) : f(f), node(node) {
        size_t most = f.program.edges.size() * (f.head.ops + 1);
        terms = (const float**)scratch.allocate(2 * most);
        means = scratch.filled(most, 0.f);
        scales = scratch.allocate(most);
        masked = scratch.allocate((node + 2) * f.pixels);
    }

    void image(int v, int n) {
        float* sum = f.nodes + size_t(v * f.N + n) * f.program.node_gradients() + size_t(node) * f.C * f.pixels;
        for (int c = 0; c < f.C; c++)
            if (f.bypassed(c))
                bypassing_channel(f.bypass_of(c), v, n, sum + c * f.pixels);
            else
                mixed_channel(c / f.partial, v, n, sum + c * f.pixels);
    }

  private:
    void bypassing_channel(int channel, int v, int n, float* sum) {
        int count = 0;
        for (const rows::Edge& e : f.program.in_edges_of(node)) {
            terms[count] = f.bypass_plane(e, channel, v, n);
            means[count] = 0;
            scales[count++] = f.edge_weight(v, e.edge);
        }
        combine(count, terms, means, scales, sum, int(f.pixels));
    }

    void mixed_channel(int m, int v, int n, float* sum) {
        int count = 0;
        for (const rows::Edge& e : f.program.in_edges_of(node)) add_edge(e, m, v, n, count);
        combine(count, terms, means, scales, sum, int(f.pixels));
    }

    void add_edge(const rows::Edge& e, int m, int v, int n, int& count) {
        const float* x = f.state(e.source, v, n) + m * f.pixels;  // what a skip of stride 1 adds
        float edge_weight = f.edge_weight(v, e.edge);
        for (const rows::Term& term : f.program.sum_of(e)) {
            const bool skips = term.norm == rows::OUT;
            const float weight = edge_weight * f.op_weight(v, e.edge, term.op);
            if (skips)
                terms[count] = term.op == rows::OUT ? x : f.dropped(e, x, m, v, n, masked + e.source * f.pixels);
            else
                terms[count] = f.activations(v, n) + term.z + m * f.pixels;
            means[count] = skips ? 0 : f.mean(v)[term.norm + m];
            scales[count++] = skips ? weight : weight * f.scale(v)[term.norm + m];
        }
    }
};

// One thread's sums over a node's in-edges, of the node's gradient dy with each operation's result.
struct NodeBackward {
    const Backward& b;
    int node;
    const float** terms;
    float *means, *sums, *masked;
    size_t* norms;

    NodeBackward(const Backward& b, int node, Scratch& scratch) : b(b), node(node) {
        size_t most = b.program.edges.size() * (b.head.ops + 1);
        terms = (const float**)scratch.allocate(2 * most);
        norms = (size_t*)scratch.allocate(2 * most);
        means = scratch.allocate(most);
        sums = scratch.allocate(most);
        masked = scratch.allocate(b.pixels);
    }

    void image(int v, int n) {
        for (const rows::Edge& e : b.program.in_edges_of(node)) b.skip(v, n)[e.edge] = b.bypass(v, n)[e.edge] = 0;
        const float* dy = b.node_gradient(node, v, n);
        for (int c = 0; c < b.C; c++)
            if (b.bypassed(c))
                bypassing_channel(dy + c * b.pixels, b.bypass_of(c), v, n);
            else
                mixed_channel(dy + c * b.pixels, c / b.partial, v, n);
    }

  private:
    void mixed_channel(const float* dy, int m, int v, int n) {
        int count = 0;
        for (const rows::Edge& e : b.program.in_edges_of(node)) {
            for (const rows::Term& term : b.program.sum_of(e)) {
                if (term.norm == rows::OUT) continue;
                terms[count] = b.activations(v, n) + term.z + m * b.pixels;
                means[count] = b.mean(v)[term.norm + m];
                norms[count++] = term.norm + m;
            }
            if (e.skip != rows::OUT || e.aux) b.skip(v, n)[e.edge] += skip_dot(e, dy, m, v, n);
        }
        float sum_dy = dy_sums(dy, int(b.pixels), count, terms, means, sums);
        for (int t = 0; t < count; t++) {
            b.partial_dy(v, n)[norms[t]] = sum_dy;
            b.partial_dy_xmu(v, n)[norms[t]] = sums[t];
        }
    }

    float skip_dot(const rows::Edge& e, const float* dy, int m, int v, int n) {
        return dot(dy, b.dropped(e, b.state(e.source, v, n) + m * b.pixels, m, v, n, masked));
    }

    void bypassing_channel(const float* dy, int channel, int v, int n) {
        for (const rows::Edge& e : b.program.in_edges_of(node))
            b.bypass(v, n)[e.edge] += dot(dy, b.bypass_plane(e, channel, v, n));
    }

    float dot(const float* dy, const float* x) const {
        const float zero = 0;
        float sum;
        dy_sums(dy, int(b.pixels), 1, &x, &zero, &sum);
        return sum;
    }
};

ISA_NAMESPACE_END
