// A state's out-edges: pools, factorised reductions, dilated convolutions and the first halves of separable ones, and
// back. Included once per instruction set, inside its namespace.

// One thread's work on a state's out-edges.
struct SourceForward {
    const Forward& f;
    const State& s;
    int j;
    Padded padded;
    size_t compact;
    float *active, *deep, *border, *zero, *even, *odd, *row;

    SourceForward(const Forward& f, int j, Scratch& scratch)
        : f(f), s(f.plan.states[j]), j(j), padded(s.out_H, s.out_W, s.stride), compact(compact_plane(s.out_H, s.out_W)) {
        active = scratch.filled(f.M * padded.plane, 0.f);
        deep = scratch.take(f.M * compact);
        border = scratch.filled(padded.plane, -__builtin_inff());
        zero = scratch.filled(padded.plane, 0.f);
        even = scratch.take(s.stride == 2 ? f.M * compact : 0);
        odd = scratch.take(s.stride == 2 ? f.M * compact : 0);
        row = scratch.take(s.W + 16);
    }

    void image(int v, int n) {
        if (j < 2 && f.plan.cell.preprocess) normalise(v, n);
        const float* x = f.state(j, v, n);
        if (s.active) f.activate(j, v, n, f.replay, padded, active, row);
        for (int c = 0; c < f.M && s.active && s.stride == 2; c++)
            subsample(active + c * padded.plane, padded, even + c * compact, odd + c * compact);
        pools(x, v, n);
        for (int e : s.out_edges) {
            const Edge& edge = f.plan.edges[e];
            for (const Mixed& m : edge.ops) {
                if (m.conv()) convolve(m, v, n);
                if (m.op == Op::skip && edge.stride == 2) reduce(m.reduce, f.M, v, n);
            }
            if (edge.aux && edge.stride == 2) reduce(edge.aux_reduce, f.C, v, n);
        }
    }

  private:
    void normalise(int v, int n) {
        size_t norm = f.plan.preprocess[j].norm, count = f.in_pixels;
        float* x = const_cast<float*>(f.state(j, v, n));
        for (int c = 0; c < f.C; c++) {
            float mean = f.mean(v)[norm + c], scale = f.scale(v)[norm + c];
            float* plane = x + c * count;
            for (size_t i = 0; i < count; i++) plane[i] = (plane[i] - mean) * scale;
        }
    }

    void pools(const float* x, int v, int n) {
        size_t count = size_t(s.H) * s.W, codes = s.out_H * code_row(s.out_W);
        float* planes = f.planes(v, n);
        uint8_t* pattern = f.pattern(v, n);
        for (int c = 0; c < f.M && s.max_pool; c++) {
            copy_to_padded(x + c * count, padded, border);
            auto pool = s.stride == 1 ? max_pool<Windows<3, 1>> : max_pool<Windows<3, 2>>;
            pool(border, padded, f.replay, pattern + s.codes + c * codes, planes + s.max_z + c * f.pixels, row);
        }
        for (int c = 0; c < f.M && s.avg_pool; c++) {
            copy_to_padded(x + c * count, padded, zero);
            avg_pool(zero, padded, planes + s.avg_z + c * f.pixels, deep, row);
        }
        if (s.max_pool) f.measure(v, n, s.max_norm, f.M, planes + s.max_z, int(f.pixels));
        if (s.avg_pool) f.measure(v, n, s.avg_norm, f.M, planes + s.avg_z, int(f.pixels));
        for (int c = f.M; c < f.C && s.bypass; c++) {
            copy_to_padded(x + c * count, padded, zero);
            max_pool<Windows<2, 2>>(zero, padded, f.replay, pattern + s.bypass_codes + (c - f.M) * codes,
                                    planes + s.bypass_z + (c - f.M) * f.pixels, row);
        }
    }

    void convolve(const Mixed& m, int v, int n) {
        Depthwise depthwise = depthwise_for(m.kernel, m.dilation, s.stride, s.out_W);
        const float* w = f.weights(v);
        float* z = f.planes(v, n) + m.first.z;
        int taps = m.kernel * m.kernel;
        for (int c = 0; c < f.M; c++)
            depthwise.forward(active + c * padded.plane, padded, w + m.first.depthwise + c * taps, deep + c * compact);
        pointwise({w + m.first.pointwise, f.M, 1}, f.M, f.M, deep, compact, z, f.pixels, int(f.pixels));
        f.measure(v, n, m.first.norm, f.M, z, int(f.pixels));
    }

    void reduce(const Factorized& r, int outs, int v, int n) {
        const float* w = f.weights(v);
        float* z = f.planes(v, n) + r.z;
        int ins = f.M, half = outs / 2;
        pointwise({w + r.even, ins, 1}, half, ins, even, compact, z, f.pixels, int(f.pixels));
        pointwise({w + r.odd, ins, 1}, half, ins, odd, compact, z + half * f.pixels, f.pixels, int(f.pixels));
        f.measure(v, n, r.norm, outs, z, int(f.pixels));
    }
};

// One thread's work on everything else on a state's out-edges.
struct SourceBackward {
    const Backward& b;
    const State& s;
    int j;
    size_t count, g_plane;
    ConvBackward conv;
    float *even, *odd, *pooled, *pooled_sum, *dropped, *flat;
    int* chosen;
    const float** terms;
    float *scales, *zeros;

    SourceBackward(const Backward& b, int j, Scratch& scratch)
        : b(b), s(b.plan.states[j]), j(j), count(size_t(s.H) * s.W), g_plane(b.plan.cell.partial * b.pixels),
          conv(b, s, s.stride, scratch) {
        even = scratch.take(s.stride == 2 ? b.M * conv.compact : 0);
        odd = scratch.take(s.stride == 2 ? b.M * conv.compact : 0);
        pooled = scratch.take(2 * conv.compact);
        pooled_sum = scratch.take(conv.blocked.plane);
        flat = scratch.take(count);
        chosen = (int*)scratch.filled(conv.grads.plane, 0.f);
        dropped = scratch.take((b.plan.cell.nodes + 1) * b.pixels);
        terms = (const float**)scratch.take(2 * b.plan.edges.size() + 16);
        scales = scratch.take(b.plan.edges.size() + 8);
        zeros = scratch.filled(b.plan.edges.size() + 8, 0.f);
    }

    void image(int v, int n) {
        conv.start();
        if (s.active && b.wanted.weights) b.activate(j, v, n, true, conv.padded, conv.active, conv.row);
        for (int index : s.out_edges) {
            const Edge& e = b.plan.edges[index];
            for (const Mixed& m : e.ops) {
                if (m.conv()) convolve(e, m, v, n);
                if (m.op == Op::skip && e.stride == 2)
                    reduce(m.reduce, b.M, b.edge_weight(v, e) * b.op_weight(v, e, m), e, v, n);
            }
            if (e.aux && e.stride == 2) reduce(e.aux_reduce, b.C, b.edge_weight(v, e) * b.in.skip_beta, e, v, n);
        }
        float* to = b.state_gradient(j, v, n);
        if (!to) return;
        for (int m = 0; m < b.M; m++) mixed(m, v, n, to + m * count);
        for (int c = b.M; c < b.C; c++) bypass(c, v, n, to + c * count);
        if (j < 2 && b.plan.cell.preprocess) measure(to, v, n);
    }

  private:
    void convolve(const Edge& e, const Mixed& m, int v, int n) {
        const float* z = b.planes(v, n) + m.first.z;
        if (m.separable())
            b.unnorm(b.middle_gradient(s, m, v, n), b.pixels, z, m.first.norm, 1, b.M, conv.dz, conv.compact, v);
        else
            b.unnorm(b.node_gradient(e.node, v, n), g_plane, z, m.first.norm, b.edge_weight(v, e) * b.op_weight(v, e, m),
                     b.M, conv.dz, conv.compact, v);
        conv.convolve(m.first, m.kernel, m.dilation, v, n);
    }

    // A factorised reduction of all mixed channels.
    void reduce(const Factorized& r, int outs, float weight, const Edge& e, int v, int n) {
        const float* w = b.weights(v);
        int ins = b.M, half = outs / 2, pixels = int(b.pixels);
        b.unnorm(b.node_gradient(e.node, v, n), g_plane, b.planes(v, n) + r.z, r.norm, weight, outs, conv.dz, conv.compact,
                 v);
        const float* lower = conv.dz + half * conv.compact;
        if (b.wanted.weights) {
            float* dw = b.share(v, n);
            for (int c = 0; c < ins; c++)
                subsample(conv.active + c * conv.padded.plane, conv.padded, even + c * conv.compact, odd + c * conv.compact);
            gram(conv.dz, conv.compact, half, even, conv.compact, ins, pixels, dw + r.even, conv.gram_room);
            gram(lower, conv.compact, half, odd, conv.compact, ins, pixels, dw + r.odd, conv.gram_room);
        }
        pointwise({w + r.even, 1, ins}, ins, half, conv.dz, conv.compact, even, conv.compact, pixels);
        pointwise({w + r.odd, 1, ins}, ins, half, lower, conv.compact, odd, conv.compact, pixels);
        for (int c = 0; c < ins; c++) spread(c, conv.sum + c * conv.blocked.plane);
    }

    void spread(int c, float* to) {
        const Blocked& k = conv.blocked;
        for (int y = 0; y < s.out_H; y++)
            for (int x = 0; x < s.out_W; x++) {
                to[2 * y * k.row + x] += even[c * conv.compact + y * s.out_W + x];
                to[k.phase + (2 * y + 1) * k.row + x] += odd[c * conv.compact + y * s.out_W + x];
            }
    }

    void mixed(int m, int v, int n, float* to) {
        int used = 0;
        auto add = [&](const float* term, float weight) {
            terms[used] = term;
            scales[used++] = weight;
        };
        if (s.active) {
            close(m, v, n, to);
            add(to, 1);
        }
        if (s.max_pool || s.avg_pool) {
            pools(m, v, n, flat);
            add(flat, 1);
        }
        if (j >= 2) add(b.incoming(j - 2, v, n) + m * count, 1);
        for (int index : s.out_edges) {
            const Edge& e = b.plan.edges[index];
            if (e.stride == 2) continue;
            const float* g = b.node_gradient(e.node, v, n) + m * g_plane;
            float whole = b.edge_weight(v, e);
            for (const Mixed& op : e.ops)
                if (op.op == Op::skip)
                    add(b.dropped(e, g, m, v, n, dropped + e.node * b.pixels), whole * b.op_weight(v, e, op));
            if (e.aux) add(g, whole * b.in.skip_beta);
        }
        combine(used, terms, zeros, scales, to, int(count));
    }

    // What the ReLU lets through of the convolutions' gradients.
    void close(int m, int v, int n, float* to) {
        const uint8_t* bits = b.pattern(v, n) + s.bits + m * s.H * bit_row(s.W);
        const float* from = conv.sum + m * conv.blocked.plane;
        if (s.stride == 1) return keep_rows(from, conv.blocked.row, bits, s.H, s.W, to);
        for (int y = 0; y < s.H; y++) {
            const float* row = from + y * conv.blocked.row;
            join_columns(row, row + conv.blocked.phase, s.W, conv.row);
            keep_rows(conv.row, s.W, bits + y * bit_row(s.W), 1, s.W, to + size_t(y) * s.W);
        }
    }

    void pools(int m, int v, int n, float* to) {
        wipe(pooled_sum, conv.blocked.plane);
        const float* planes = b.planes(v, n);
        const uint8_t* codes = b.pattern(v, n) + s.codes + m * s.out_H * code_row(s.out_W);
        if (pool(Op::max_pool, planes + s.max_z, m, v, n))
            s.stride == 1 ? chosen_gradient<Windows<3, 1>>(codes) : chosen_gradient<Windows<3, 2>>(codes);
        if (pool(Op::avg_pool, planes + s.avg_z, m, v, n))
            avg_pool_gradient(pooled, s.stride, conv.grads, conv.padded_grad, conv.row, pooled_sum, conv.blocked);
        unblock(pooled_sum, conv.blocked, s.stride, s.H, s.W, to);
    }

    // From `pooled` into `pooled_sum`.
    template <class W> void chosen_gradient(const uint8_t* codes) {
        copy_to_padded(pooled, conv.grads, conv.padded_grad);
        max_pool_gradient<W>(conv.padded_grad, conv.grads, codes, chosen, pooled_sum, conv.blocked);
    }

    // Into `pooled`, the gradient of one pool's plane m from all out-edges that have it.
    bool pool(Op op, const float* z, int m, int v, int n) {
        bool found = false;
        for (int index : s.out_edges) {
            const Edge& e = b.plan.edges[index];
            for (const Mixed& mixed : e.ops) {
                if (mixed.op != op) continue;
                const float* g = b.node_gradient(e.node, v, n) + m * g_plane;
                size_t norm = mixed.norm + m;
                float weight = b.edge_weight(v, e) * b.op_weight(v, e, mixed);
                if (found)
                    b.unnorm<true>(g, 0, z + m * b.pixels, norm, weight, 1, pooled, 0, v);
                else
                    b.unnorm(g, 0, z + m * b.pixels, norm, weight, 1, pooled, 0, v);
                found = true;
            }
        }
        return found;
    }

    void bypass(int channel, int v, int n, float* to) {
        int used = 0, c = b.bypass_to(channel);
        for (int index : s.out_edges) {
            const Edge& e = b.plan.edges[index];
            terms[used] = b.node_gradient(e.node, v, n) + c * b.pixels;
            scales[used++] = b.edge_weight(v, e);
        }
        if (j >= 2) {
            terms[used] = b.incoming(j - 2, v, n) + channel * count;
            scales[used++] = 1;
        }
        if (s.stride == 1) return combine(used, terms, zeros, scales, to, int(count));
        combine(used, terms, zeros, scales, pooled, int(b.pixels));
        size_t codes = s.out_H * code_row(s.out_W);
        wipe(pooled_sum, conv.blocked.plane);
        chosen_gradient<Windows<2, 2>>(b.pattern(v, n) + s.bypass_codes + (channel - b.M) * codes);
        unblock(pooled_sum, conv.blocked, 2, s.H, s.W, to);
    }

    // The sums that the preprocessing's norm needs, against the state, which is normalised.
    void measure(const float* g, int v, int n) {
        size_t norm = b.plan.preprocess[j].norm;
        const float zero = 0;
        for (int c = 0; c < b.C; c++) {
            const float* x = b.state(j, v, n) + c * count;
            b.partial_one(v, n)[norm + c] = dots(g + c * count, int(count), 1, &x, &zero, b.partial_z(v, n) + norm + c);
        }
    }
};
