// A node's sum over its in-edges, and the sums that its backward needs. Included once per instruction set, inside its
// namespace.

// One thread's sum of a node's in-edges.
struct NodeForward {
    const Forward& f;
    int node;
    const float** terms;
    float *means, *scales, *dropped;

    NodeForward(const Forward& f, int node, Scratch& scratch) : f(f), node(node) {
        size_t most = f.plan.edges.size() * 9;
        terms = (const float**)scratch.take(2 * most);
        means = scratch.filled(most, 0.f);
        scales = scratch.take(most);
        dropped = scratch.take((node + 2) * f.pixels);
    }

    void image(int v, int n) {
        float* to = f.result + (size_t(v * f.N + n) * f.plan.cell.nodes + node) * f.C * f.pixels;
        for (int c = 0; c < f.C; c++)
            if (f.bypassed(c))
                bypass(f.bypass_of(c), v, n, to + c * f.pixels);
            else
                mix(c / f.plan.cell.partial, v, n, to + c * f.pixels);
    }

  private:
    void bypass(int channel, int v, int n, float* to) {
        int count = 0;
        for (const Edge& e : f.plan.edges) {
            if (e.node != node) continue;
            terms[count] = f.bypass_plane(e, channel, v, n);
            means[count] = 0;
            scales[count++] = f.edge_weight(v, e);
        }
        combine(count, terms, means, scales, to, int(f.pixels));
    }

    void mix(int m, int v, int n, float* to) {
        int count = 0;
        for (const Edge& e : f.plan.edges)
            if (e.node == node) add_edge(e, m, v, n, count);
        combine(count, terms, means, scales, to, int(f.pixels));
    }

    void add_edge(const Edge& e, int m, int v, int n, int& count) {
        const State& s = f.plan.states[e.source];
        const float* x = f.state(e.source, v, n) + m * f.pixels;  // of a stride-1 skip
        float whole = f.edge_weight(v, e);
        auto add = [&](const float* plane, float mean, float scale) {
            terms[count] = plane;
            means[count] = mean;
            scales[count++] = scale;
        };
        auto add_normed = [&](const float* z, float weight, size_t norm) {
            add(z + m * f.pixels, f.mean(v)[norm + m], weight * f.scale(v)[norm + m]);
        };
        for (const Mixed& op : e.ops) {
            float weight = whole * f.op_weight(v, e, op);
            if (Pass::normed(e, op))
                add_normed(f.planes(v, n) + f.planes_of(s, op), weight, op.last_norm(e.stride));
            else
                add(f.dropped(e, x, m, v, n, dropped + e.source * f.pixels), 0, weight);
        }
        if (!e.aux) return;
        if (e.stride == 2) return add_normed(f.planes(v, n) + e.aux_reduce.z, whole * f.in.skip_beta, e.aux_reduce.norm);
        add(x, 0, whole * f.in.skip_beta);
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
        size_t most = b.plan.edges.size() * 9;
        terms = (const float**)scratch.take(2 * most);
        norms = (size_t*)scratch.take(2 * most);
        means = scratch.take(most);
        sums = scratch.take(most);
        dropped = scratch.take(b.pixels);
    }

    void image(int v, int n) {
        for (const Edge& e : b.plan.edges)
            if (e.node == node) b.skip(v, n)[e.index] = b.bypass(v, n)[e.index] = 0;
        const float* g = b.node_gradient(node, v, n);
        for (int c = 0; c < b.C; c++)
            if (b.bypassed(c))
                bypass(g + c * b.pixels, b.bypass_of(c), v, n);
            else
                mixed(g + c * b.pixels, c / b.plan.cell.partial, v, n);
    }

  private:
    void mixed(const float* g, int m, int v, int n) {
        int count = 0;
        for (const Edge& e : b.plan.edges) {
            if (e.node != node) continue;
            const State& s = b.plan.states[e.source];
            bool skip = e.aux && e.stride == 1;
            for (const Mixed& op : e.ops) {
                if (Pass::normed(e, op))
                    add(b.planes(v, n) + b.planes_of(s, op), op.last_norm(e.stride) + m, m, v, count);
                else
                    skip = true;
            }
            if (e.aux && e.stride == 2) add(b.planes(v, n) + e.aux_reduce.z, e.aux_reduce.norm + m, m, v, count);
            if (skip) b.skip(v, n)[e.index] += skip_dot(e, g, m, v, n);
        }
        float one = dots(g, int(b.pixels), count, terms, means, sums);
        for (int t = 0; t < count; t++) {
            b.partial_one(v, n)[norms[t]] = one;
            b.partial_z(v, n)[norms[t]] = sums[t];
        }
    }

    void add(const float* z, size_t norm, int m, int v, int& count) {
        terms[count] = z + m * b.pixels;
        means[count] = b.mean(v)[norm];
        norms[count++] = norm;
    }

    float skip_dot(const Edge& e, const float* g, int m, int v, int n) {
        return dot(g, b.dropped(e, b.state(e.source, v, n) + m * b.pixels, m, v, n, dropped));
    }

    void bypass(const float* g, int channel, int v, int n) {
        for (const Edge& e : b.plan.edges)
            if (e.node == node) b.bypass(v, n)[e.index] += dot(g, b.bypass_plane(e, channel, v, n));
    }

    float dot(const float* g, const float* x) const {
        const float zero = 0;
        float sum;
        dots(g, int(b.pixels), 1, &x, &zero, &sum);
        return sum;
    }
};
