// A state's out-edges: pools, factorised reductions, dilated convolutions and the first halves of separable ones, and
// back. Included once per instruction set, inside its namespace.

// One thread's work on a state's out-edges.
struct SourceForward {
    const Forward& f;
    const rows::State& s;
    int j;
    Padded padded;
    size_t compact;
    float *active, *deep, *border, *zero, *halves[2], *row;

    SourceForward(const Forward& f, int j, Scratch& scratch)
        : f(f), s(f.program.states[j]), j(j), padded(f.padded(s.stride)), compact(compact_plane(padded.H, padded.W)) {
        active = scratch.filled(f.M * padded.plane, 0.f);
        deep = scratch.take(f.M * compact);
        border = scratch.filled(padded.plane, -__builtin_inff());
        zero = scratch.filled(padded.plane, 0.f);
        for (float*& half : halves) half = scratch.take(s.stride == 2 ? f.M * compact : 0);
        row = scratch.take(s.width + 16);
    }

    void image(int v, int n) {
        if (s.norm_in != rows::OUT) normalise(v, n);
        if (s.convs) f.activate(j, v, n, f.replay, padded, active, row);
        for (int c = 0; c < f.M && s.convs && s.stride == 2; c++)
            for (int first = 0; first < 2; first++) subsample(active + c * padded.plane, padded, first, halves[first] + c * compact);
        for (const rows::Pool& one : f.program.pools_of(s)) pool(one, v, n);
        for (const rows::Pool& one : f.program.bypass_of(s)) pool(one, v, n);
        for (const rows::Conv& conv : f.program.convs_of(s))
            if (conv.kernel == 1)
                f.multiply(conv, halves[conv.first], compact, f.planes(v, n) + conv.z, int(f.pixels), v, n);
            else
                f.convolve(conv, active, padded, deep, compact, v, n);
    }

  private:
    void normalise(int v, int n) {
        size_t count = f.in_pixels;
        float* x = const_cast<float*>(f.state(j, v, n));
        for (int c = 0; c < f.C; c++) {
            float mean = f.mean(v)[s.norm_in + c], scale = f.scale(v)[s.norm_in + c];
            float* plane = x + c * count;
            for (size_t i = 0; i < count; i++) plane[i] = (plane[i] - mean) * scale;
        }
    }

    void pool(const rows::Pool& p, int v, int n) {
        const float* x = f.state(j, v, n) + p.first * size_t(s.height) * s.width;
        float *z = f.planes(v, n) + p.z, *plane = p.is_max && p.padding ? border : zero;
        uint8_t* argmax = f.pattern(v, n) + p.argmax;
        const auto max_pool_of = p.kernel == 2 ? max_pool<Windows<2, 2>> : p.stride == 1 ? max_pool<Windows<3, 1>> : max_pool<Windows<3, 2>>;
        for (int c = 0; c < p.channels; c++, x += size_t(s.height) * s.width) {
            copy_to_padded(x, padded, plane);
            if (p.is_max)
                max_pool_of(plane, padded, f.replay, argmax + c * padded.H * argmax_row(padded.W), z + c * f.pixels, row);
            else
                avg_pool(plane, padded, z + c * f.pixels, deep, row);
        }
        if (p.norm != rows::OUT) f.measure(v, n, p.norm, f.M, z, int(f.pixels));
    }
};

// One thread's work on everything else on a state's out-edges.
struct SourceBackward {
    const Backward& b;
    const rows::State& s;
    int j;
    size_t count, g_plane;
    ConvBackward conv;
    float *pooled, *pooled_sum, *dropped, *flat;
    int* chosen;
    const float** terms;
    float *scales, *zeros;

    SourceBackward(const Backward& b, int j, Scratch& scratch)
        : b(b), s(b.program.states[j]), j(j), count(size_t(s.height) * s.width), g_plane(b.partial * b.pixels),
          conv(b, s.stride, scratch) {
        pooled = scratch.take(2 * conv.compact);
        pooled_sum = scratch.take(conv.blocked.plane);
        flat = scratch.take(count);
        chosen = (int*)scratch.filled(conv.grads.plane, 0.f);
        dropped = scratch.take((b.head.nodes + 1) * b.pixels);
        terms = (const float**)scratch.take(2 * b.program.edges.size() + 16);
        scales = scratch.take(b.program.edges.size() + 8);
        zeros = scratch.filled(b.program.edges.size() + 8, 0.f);
    }

    void image(int v, int n) {
        conv.start();
        if (s.convs && b.wanted.weights) b.activate(j, v, n, true, conv.padded, conv.active, conv.row);
        int hidden = 0;
        for (const rows::Conv& one : b.program.convs_of(s)) {
            const float* g = one.edge == rows::OUT ? b.hidden_gradient(s, hidden++, v, n) : b.gradient(one.grad, v, n);
            b.unnorm(one, g, conv.dz, conv.compact, v, n);
            conv.convolve(one, v, n);
        }
        float* to = b.state_gradient(j, v, n);
        if (!to) return;
        for (int m = 0; m < b.M; m++) mixed(m, v, n, to + m * count);
        for (int c = b.M; c < b.C; c++) bypass(c, v, n, to + c * count);
        if (s.norm_in != rows::OUT) measure(to, v, n);
    }

  private:
    void mixed(int m, int v, int n, float* to) {
        int used = 0;
        auto add = [&](const float* term, float weight) {
            terms[used] = term;
            scales[used++] = weight;
        };
        if (s.convs) {
            close(m, v, n, to);
            add(to, 1);
        }
        if (s.pools) {
            pools(m, v, n, flat);
            add(flat, 1);
        }
        if (j >= 2) add(b.incoming(j - 2, v, n) + m * count, 1);
        for (const rows::Edge& e : b.program.out_edges_of(s)) {
            const float* g = b.node_gradient(e.node, v, n) + m * g_plane;
            float whole = b.edge_weight(v, e.edge);
            if (e.skip != rows::OUT)
                add(b.dropped(e, g, m, v, n, dropped + e.node * b.pixels), whole * b.op_weight(v, e.edge, e.skip));
            if (e.aux) add(g, whole * b.in.skip_beta);
        }
        combine(used, terms, zeros, scales, to, int(count));
    }

    // What the ReLU lets through of the convolutions' gradients.
    void close(int m, int v, int n, float* to) {
        const uint8_t* mask = b.pattern(v, n) + s.relu_mask + m * s.height * mask_row(s.width);
        const float* from = conv.sum + m * conv.blocked.plane;
        if (s.stride == 1) return keep_rows(from, conv.blocked.row, mask, s.height, s.width, to);
        for (int y = 0; y < s.height; y++) {
            const float* row = from + y * conv.blocked.row;
            join_columns(row, row + conv.blocked.phase, s.width, conv.row);
            keep_rows(conv.row, s.width, mask + y * mask_row(s.width), 1, s.width, to + size_t(y) * s.width);
        }
    }

    void pools(int m, int v, int n, float* to) {
        wipe(pooled_sum, conv.blocked.plane);
        for (const rows::Pool& p : b.program.pools_of(s)) {
            gather(p, m, v, n);
            if (p.is_max)
                s.stride == 1 ? chosen_gradient<Windows<3, 1>>(p, m, v, n) : chosen_gradient<Windows<3, 2>>(p, m, v, n);
            else
                avg_pool_gradient(pooled, s.stride, conv.grads, conv.padded_grad, conv.row, pooled_sum, conv.blocked);
        }
        unblock(pooled_sum, conv.blocked, s.stride, s.height, s.width, to);
    }

    // From `pooled`, the gradient of channel c, into `pooled_sum`.
    template <class W> void chosen_gradient(const rows::Pool& p, int c, int v, int n) {
        const uint8_t* argmax = b.pattern(v, n) + p.argmax + c * b.head.H_out * argmax_row(b.head.W_out);
        copy_to_padded(pooled, conv.grads, conv.padded_grad);
        max_pool_gradient<W>(conv.padded_grad, conv.grads, argmax, chosen, pooled_sum, conv.blocked);
    }

    // Into `pooled`, the gradient of a pool's plane m from all edges that have it.
    void gather(const rows::Pool& p, int m, int v, int n) {
        const float* z = b.planes(v, n) + p.z + m * b.pixels;
        bool first = true;
        for (const rows::Use& use : b.program.uses_of(p)) {
            const float* g = b.node_gradient(use.node, v, n) + m * g_plane;
            float weight = b.edge_weight(v, use.edge) * b.op_weight(v, use.edge, use.op);
            first ? b.unnorm(g, z, use.norm + m, weight, pooled, v) : b.unnorm<true>(g, z, use.norm + m, weight, pooled, v);
            first = false;
        }
    }

    void bypass(int channel, int v, int n, float* to) {
        int used = 0, c = b.bypass_to(channel);
        for (const rows::Edge& e : b.program.out_edges_of(s)) {
            terms[used] = b.node_gradient(e.node, v, n) + c * b.pixels;
            scales[used++] = b.edge_weight(v, e.edge);
        }
        if (j >= 2) {
            terms[used] = b.incoming(j - 2, v, n) + channel * count;
            scales[used++] = 1;
        }
        if (s.stride == 1) return combine(used, terms, zeros, scales, to, int(count));
        combine(used, terms, zeros, scales, pooled, int(b.pixels));
        wipe(pooled_sum, conv.blocked.plane);
        for (const rows::Pool& p : b.program.bypass_of(s)) chosen_gradient<Windows<2, 2>>(p, channel - b.M, v, n);
        unblock(pooled_sum, conv.blocked, 2, s.height, s.width, to);
    }

    // The sums that the preprocessing's norm needs, against the state, which is normalised.
    void measure(const float* g, int v, int n) {
        const float zero = 0;
        for (int c = 0; c < b.C; c++) {
            const float* x = b.state(j, v, n) + c * count;
            b.partial_one(v, n)[s.norm_in + c] = dots(g + c * count, int(count), 1, &x, &zero, b.partial_z(v, n) + s.norm_in + c);
        }
    }
};
