// Second halves of separable convolutions, and back. Included once per instruction set, inside its namespace.

// One thread's work on the second halves of separable convolutions.
struct MiddleForward {
    const Forward& f;
    const State& s;
    Padded padded;
    size_t compact;
    float *active, *deep, *row;

    MiddleForward(const Forward& f, int j, Scratch& scratch)
        : f(f), s(f.plan.states[j]), padded(s.out_H, s.out_W, 1), compact(compact_plane(s.out_H, s.out_W)) {
        active = scratch.filled(f.M * padded.plane, 0.f);
        deep = scratch.take(f.M * compact);
        row = scratch.take(s.W + 16);
    }

    void image(int v, int n) {
        for (int e : s.out_edges)
            for (const Mixed& m : f.plan.edges[e].ops)
                if (m.separable()) convolve(m, v, n);
    }

  private:
    void convolve(const Mixed& m, int v, int n) {
        Depthwise depthwise = depthwise_for(m.kernel, 1, 1, s.out_W);
        const float* w = f.weights(v);
        float* z = f.planes(v, n) + m.second.z;
        int taps = m.kernel * m.kernel;
        f.activate_middle(m, v, n, f.replay, padded, active, row);
        for (int c = 0; c < f.M; c++)
            depthwise.forward(active + c * padded.plane, padded, w + m.second.depthwise + c * taps, deep + c * compact);
        pointwise({w + m.second.pointwise, f.M, 1}, f.M, f.M, deep, compact, z, f.pixels, int(f.pixels));
        f.measure(v, n, m.second.norm, f.M, z, int(f.pixels));
    }
};

// One thread's work on the second halves of separable convolutions on a state's out-edges.
struct MiddleBackward {
    const Backward& b;
    const State& s;
    ConvBackward conv;

    MiddleBackward(const Backward& b, int j, Scratch& scratch) : b(b), s(b.plan.states[j]), conv(b, s, 1, scratch) {}

    void image(int v, int n) {
        for (int index : s.out_edges) {
            const Edge& e = b.plan.edges[index];
            for (const Mixed& m : e.ops)
                if (m.separable()) separable(e, m, v, n);
        }
    }

  private:
    void separable(const Edge& e, const Mixed& m, int v, int n) {
        size_t bits = s.out_H * bit_row(s.out_W), g_plane = b.plan.cell.partial * b.pixels;
        uint8_t* pattern = b.pattern(v, n) + m.middle_bits;
        const float* first = b.planes(v, n) + m.first.z;
        b.unnorm(b.node_gradient(e.node, v, n), g_plane, b.planes(v, n) + m.second.z, m.second.norm,
                 b.edge_weight(v, e) * b.op_weight(v, e, m), b.M, conv.dz, conv.compact, v);
        if (b.wanted.weights) b.activate_middle(m, v, n, true, conv.padded, conv.active, conv.row);
        conv.start();
        conv.convolve(m.second, m.kernel, 1, v, n);
        float* to = b.middle_gradient(s, m, v, n);
        for (int c = 0; c < b.M; c++) {
            size_t norm = m.first.norm + c;
            Sums sums = close_rows(conv.sum + c * conv.blocked.plane, conv.blocked, pattern + c * bits, s.out_H, s.out_W,
                                   first + c * b.pixels, b.mean(v)[norm], to + c * b.pixels);
            b.partial_one(v, n)[norm] = sums.one;
            b.partial_z(v, n)[norm] = sums.z;
        }
    }
};
