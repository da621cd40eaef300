// A node's sum over its in-edges, and the sums that its backward needs. Included once per instruction set, inside its
// namespace.

// One thread's sum of a node's in-edges.
struct NodeForward {
    const Forward& f;
    int node;
    const float** terms;
    float *means, *scales, *dropped;

    NodeForward(const Forward& f, int node, Scratch& scratch) : f(f), node(node) {
        size_t most = f.program.edges.size() * (f.head.ops + 1);
        terms = (const float**)scratch.take(2 * most);
        means = scratch.filled(most, 0.f);
        scales = scratch.take(most);
        dropped = scratch.take((node + 2) * f.pixels);
    }

    void image(int v, int n) {
        float* to = f.result + size_t(v * f.N + n) * f.program.node_gradients() + size_t(node) * f.C * f.pixels;
        for (int c = 0; c < f.C; c++)
            if (f.bypassed(c))
                bypass(f.bypass_of(c), v, n, to + c * f.pixels);
            else
                mix(c / f.partial, v, n, to + c * f.pixels);
    }

  private:
    void bypass(int channel, int v, int n, float* to) {
        int count = 0;
        for (const rows::Edge& e : f.program.in_edges_of(node)) {
            terms[count] = f.bypass_plane(e, channel, v, n);
            means[count] = 0;
            scales[count++] = f.edge_weight(v, e.edge);
        }
        combine(count, terms, means, scales, to, int(f.pixels));
    }

    void mix(int m, int v, int n, float* to) {
        int count = 0;
        for (const rows::Edge& e : f.program.in_edges_of(node)) add_edge(e, m, v, n, count);
        combine(count, terms, means, scales, to, int(f.pixels));
    }

    void add_edge(const rows::Edge& e, int m, int v, int n, int& count) {
        const float* x = f.state(e.source, v, n) + m * f.pixels;  // of a stride-1 skip
        float whole = f.edge_weight(v, e.edge);
        for (const rows::Term& term : f.program.sum_of(e)) {
            const bool skips = term.norm == rows::OUT;
            const float weight = whole * f.op_weight(v, e.edge, term.op);
            if (skips)
                terms[count] = term.op == rows::OUT ? x : f.dropped(e, x, m, v, n, dropped + e.source * f.pixels);
            else
                terms[count] = f.planes(v, n) + term.z + m * f.pixels;
            means[count] = skips ? 0 : f.mean(v)[term.norm + m];
            scales[count++] = skips ? weight : weight * f.scale(v)[term.norm + m];
        }
    }
};

// One thread's sums over a node's in-edges, of its gradient with each operation's result.
struct NodeBackward {
    const Backward& b;
    int node;
    const float** terms;
    float *means, *sums, *dropped;
    size_t* norms;

    NodeBackward(const Backward& b, int node, Scratch& scratch) : b(b), node(node) {
        size_t most = b.program.edges.size() * (b.head.ops + 1);
        terms = (const float**)scratch.take(2 * most);
        norms = (size_t*)scratch.take(2 * most);
        means = scratch.take(most);
        sums = scratch.take(most);
        dropped = scratch.take(b.pixels);
    }

    void image(int v, int n) {
        for (const rows::Edge& e : b.program.in_edges_of(node)) b.skip(v, n)[e.edge] = b.bypass(v, n)[e.edge] = 0;
        const float* g = b.node_gradient(node, v, n);
        for (int c = 0; c < b.C; c++)
            if (b.bypassed(c))
                bypass(g + c * b.pixels, b.bypass_of(c), v, n);
            else
                mixed(g + c * b.pixels, c / b.partial, v, n);
    }

  private:
    void mixed(const float* g, int m, int v, int n) {
        int count = 0;
        for (const rows::Edge& e : b.program.in_edges_of(node)) {
            for (const rows::Term& term : b.program.sum_of(e)) {
                if (term.norm == rows::OUT) continue;
                terms[count] = b.planes(v, n) + term.z + m * b.pixels;
                means[count] = b.mean(v)[term.norm + m];
                norms[count++] = term.norm + m;
            }
            if (e.skip != rows::OUT || e.aux) b.skip(v, n)[e.edge] += skip_dot(e, g, m, v, n);
        }
        float one = dots(g, int(b.pixels), count, terms, means, sums);
        for (int t = 0; t < count; t++) {
            b.partial_one(v, n)[norms[t]] = one;
            b.partial_z(v, n)[norms[t]] = sums[t];
        }
    }

    float skip_dot(const rows::Edge& e, const float* g, int m, int v, int n) {
        return dot(g, b.dropped(e, b.state(e.source, v, n) + m * b.pixels, m, v, n, dropped));
    }

    void bypass(const float* g, int channel, int v, int n) {
        for (const rows::Edge& e : b.program.in_edges_of(node)) b.bypass(v, n)[e.edge] += dot(g, b.bypass_plane(e, channel, v, n));
    }

    float dot(const float* g, const float* x) const {
        const float zero = 0;
        float sum;
        dots(g, int(b.pixels), 1, &x, &zero, &sum);
        return sum;
    }
};
