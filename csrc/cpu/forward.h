// The forward of a cell, image by image between batch norms. Included once per instruction set, inside its namespace.
//
// Phases, each over all images: preprocess | states 0 and 1: convolutions and pools on their out-edges | second halves of
// their separable convolutions | node 0, then its convolutions and pools | ... | last node.

struct Forward : Pass {
    const Workspace& space;
    bool replay;
    float* result;  // the nodes

    float* partial_mean(int v, int n) const { return space.partial[0] + size_t(v * N + n) * plan.norms; }
    float* partial_deviations(int v, int n) const { return space.partial[1] + size_t(v * N + n) * plan.norms; }

    void measure(int v, int n, size_t norm, int channels, const float* z, int count) const {
        if (!in.training) return;
        for (int c = 0; c < channels; c++)
            moments(z + size_t(c) * count, count, partial_mean(v, n) + norm + c, partial_deviations(v, n) + norm + c);
    }

    // Statistics of `channels` channels from `norm` on, from those of the images of `count` pixels.
    void finish(size_t norm, int channels, int count) const {
        for (int v = 0; v < V; v++) {
            float* stats = saved.stats + size_t(v) * 3 * plan.norms + norm;
            for (int c = 0; c < channels; c++) {
                float *mean = stats + c, *scale = mean + plan.norms, *var = scale + plan.norms;
                if (!in.training) {
                    *scale = float(1 / __builtin_sqrt(double(*var) + EPS));
                    continue;
                }
                double total = 0, deviations = 0;
                for (int n = 0; n < N; n++) total += partial_mean(v, n)[norm + c];
                double average = total / N;
                for (int n = 0; n < N; n++) {
                    double off = partial_mean(v, n)[norm + c] - average;
                    deviations += partial_deviations(v, n)[norm + c] + count * off * off;
                }
                double size = double(N) * count;
                *mean = float(average);
                *scale = float(1 / __builtin_sqrt(deviations / size + EPS));
                *var = float(deviations / (size - 1));
            }
        }
    }

    // Pools are computed once a state: their other norms copy the first one's.
    void share(size_t from, size_t to) const {
        if (from == to || !in.training) return;
        for (int v = 0; v < V; v++)
            for (int row = 0; row < 3; row++) {
                float* stats = saved.stats + (size_t(v) * 3 + row) * plan.norms;
                __builtin_memcpy(stats + to, stats + from, M * sizeof(float));
            }
    }

    void finish_sources(int j) const {
        const State& s = plan.states[j];
        int count = int(pixels);
        for (int e : s.out_edges) {
            const Edge& edge = plan.edges[e];
            for (const Mixed& m : edge.ops) {
                if (m.pool()) {
                    size_t first = m.op == Op::max_pool ? s.max_norm : s.avg_norm;
                    if (m.norm == first || !in.training) finish(m.norm, M, count);
                    share(first, m.norm);
                }
                if (m.op == Op::skip && edge.stride == 2) finish(m.reduce.norm, M, count);
                if (m.conv()) finish(m.first.norm, M, count);
            }
            if (edge.aux && edge.stride == 2) finish(edge.aux_reduce.norm, C, count);
        }
    }

    void finish_middles(int j) const {
        for (int e : plan.states[j].out_edges)
            for (const Mixed& m : plan.edges[e].ops)
                if (m.separable()) finish(m.second.norm, M, int(pixels));
    }

    void run() const;
    size_t scratch_floats() const;

  private:
    void preprocess() const;
    void middles(int j) const;
};

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
        if (s.active) activate(x, v, n);
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

    void activate(const float* x, int v, int n) {
        size_t count = size_t(s.H) * s.W, bits = s.H * bit_row(s.W);
        for (int c = 0; c < f.M; c++)
            relu_to_padded({x + c * count, 0, 1, f.pattern(v, n) + s.bits + c * bits, f.replay}, padded,
                           active + c * padded.plane, row);
        if (s.stride == 1) return;
        for (int c = 0; c < f.M; c++) subsample(active + c * padded.plane, even + c * compact, odd + c * compact);
    }

    // The pixels of a factorised reduction: even rows and columns, odd rows and columns.
    void subsample(const float* from, float* to_even, float* to_odd) {
        const float* origin = from + PAD * padded.row + PAD;
        for (int y = 0; y < s.out_H; y++) {
            __builtin_memcpy(to_even + y * s.out_W, origin + 2 * y * padded.row, s.out_W * sizeof(float));
            __builtin_memcpy(to_odd + y * s.out_W, origin + padded.phase + (2 * y + 1) * padded.row,
                             s.out_W * sizeof(float));
        }
    }

    void pools(const float* x, int v, int n) {
        size_t count = size_t(s.H) * s.W, codes = s.out_H * code_row(s.out_W);
        float* planes = f.planes(v, n);
        uint8_t* pattern = f.pattern(v, n);
        for (int c = 0; c < f.M && s.max_pool; c++) {
            copy_to_padded(x + c * count, padded, border);
            max_pool(border, padded, f.replay, pattern + s.codes + c * codes, planes + s.max_z + c * f.pixels, row);
        }
        for (int c = 0; c < f.M && s.avg_pool; c++) {
            copy_to_padded(x + c * count, padded, zero);
            avg_pool(zero, padded, planes + s.avg_z + c * f.pixels, row);
        }
        if (s.max_pool) f.measure(v, n, s.max_norm, f.M, planes + s.max_z, int(f.pixels));
        if (s.avg_pool) f.measure(v, n, s.avg_norm, f.M, planes + s.avg_z, int(f.pixels));
        for (int c = f.M; c < f.C && s.bypass; c++)
            bypass_pool(x + c * count, s.out_H, s.out_W, f.replay, pattern + s.bypass_codes + (c - f.M) * codes,
                        planes + s.bypass_z + (c - f.M) * f.pixels);
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
        const float *w = f.weights(v), *first = f.planes(v, n) + m.first.z;
        float* z = f.planes(v, n) + m.second.z;
        size_t bits = s.out_H * bit_row(s.out_W);
        int taps = m.kernel * m.kernel;
        for (int c = 0; c < f.M; c++) {
            size_t norm = m.first.norm + c;
            Relu relu{first + c * f.pixels, f.mean(v)[norm], f.scale(v)[norm], f.pattern(v, n) + m.middle_bits + c * bits,
                      f.replay};
            relu_to_padded(relu, padded, active + c * padded.plane, row);
            depthwise.forward(active + c * padded.plane, padded, w + m.second.depthwise + c * taps, deep + c * compact);
        }
        pointwise({w + m.second.pointwise, f.M, 1}, f.M, f.M, deep, compact, z, f.pixels, int(f.pixels));
        f.measure(v, n, m.second.norm, f.M, z, int(f.pixels));
    }
};

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
            terms[count] = e.stride == 1
                               ? f.state(e.source, v, n) + channel * f.pixels
                               : f.planes(v, n) + f.plan.states[e.source].bypass_z + (channel - f.M) * f.pixels;
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
                add(skipped(e, m, v, n), 0, weight);
        }
        if (!e.aux) return;
        if (e.stride == 2) return add_normed(f.planes(v, n) + e.aux_reduce.z, whole * f.in.skip_beta, e.aux_reduce.norm);
        add(f.state(e.source, v, n) + m * f.pixels, 0, whole * f.in.skip_beta);
    }

    // Plane m of the state, or what dropout leaves of it.
    const float* skipped(const Edge& e, int m, int v, int n) {
        const float* x = f.state(e.source, v, n) + m * f.pixels;
        const uint8_t* kept = f.dropout(e, v, n);
        if (!kept) return x;
        float* to = dropped + e.source * f.pixels;
        for (size_t i = 0; i < f.pixels; i++) to[i] = kept[m * f.pixels + i] ? x[i] * f.in.dropout_scale : 0.f;
        return to;
    }
};

// One thread's work on the inputs: ReLU, 1x1 convolution.
struct PreprocessForward {
    const Forward& f;
    int which;
    const Preprocess& p;
    size_t wide;
    float *active, *even, *odd;

    PreprocessForward(const Forward& f, int which, Scratch& scratch)
        : f(f), which(which), p(f.plan.preprocess[which]), wide(compact_plane(p.H, p.W)) {
        active = scratch.take(p.shrink ? wide : p.channels * wide);
        even = scratch.take(p.shrink ? p.channels * compact_plane(f.plan.H, f.plan.W) : 0);
        odd = scratch.take(p.shrink ? p.channels * compact_plane(f.plan.H, f.plan.W) : 0);
    }

    void image(int v, int n) {
        const float* x = f.in.s[which] + v * f.in.learner[which] + n * f.in.image[which];
        const float* w = f.weights(v);
        float* z = const_cast<float*>(f.state(which, v, n));
        activate(x, f.pattern(v, n) + p.bits);
        int count = int(f.in_pixels);
        if (p.shrink) {
            size_t narrow = compact_plane(f.plan.H, f.plan.W);
            int half = f.C / 2;
            pointwise({w + p.weight, p.channels, 1}, half, p.channels, even, narrow, z, count, count);
            pointwise({w + p.odd, p.channels, 1}, half, p.channels, odd, narrow, z + half * f.in_pixels, count, count);
        } else {
            pointwise({w + p.weight, p.channels, 1}, f.C, p.channels, active, wide, z, count, count);
        }
        f.measure(v, n, p.norm, f.C, z, count);
    }

  private:
    void activate(const float* x, uint8_t* bits) {
        size_t plane_bits = p.H * bit_row(p.W), narrow = compact_plane(f.plan.H, f.plan.W);
        for (int c = 0; c < p.channels; c++) {
            float* to = active + (p.shrink ? 0 : c * wide);
            relu_to_compact({x + size_t(c) * p.H * p.W, 0, 1, bits + c * plane_bits, f.replay}, p.H, p.W, to);
            if (p.shrink) subsample(to, even + c * narrow, odd + c * narrow);
        }
    }

    void subsample(const float* from, float* to_even, float* to_odd) {
        for (int y = 0; y < f.plan.H; y++)
            for (int x = 0; x < f.plan.W; x++) {
                const float* corner = from + size_t(2 * y) * p.W + 2 * x;
                to_even[y * f.plan.W + x] = corner[0];
                to_odd[y * f.plan.W + x] = corner[p.W + 1];
            }
    }
};

// Calls step(v, n) for images first .. last - 1.
template <class Step> inline void each_image(const Pass& pass, int first, int last, const Step& step) {
    for (int i = first; i < last; i++) step(i / pass.N, i % pass.N);
}

inline void Forward::preprocess() const {
    on_threads(space, [&](const Scratch& scratch, int, int first, int last) {
        for (int which = 0; which < 2; which++) {
            Scratch mine = scratch;
            PreprocessForward work(*this, which, mine);
            each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
        }
    });
    for (const Preprocess& p : plan.preprocess) finish(p.norm, C, int(in_pixels));
}

inline void Forward::middles(int j) const {
    if (!plan.states[j].middles) return;
    on_threads(space, [&](Scratch scratch, int, int first, int last) {
        MiddleForward work(*this, j, scratch);
        each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
    });
    finish_middles(j);
}

inline void Forward::run() const {
    if (plan.cell.preprocess) preprocess();
    on_threads(space, [&](const Scratch& scratch, int, int first, int last) {
        for (int j = 0; j < 2; j++) {
            Scratch mine = scratch;
            SourceForward work(*this, j, mine);
            each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
        }
    });
    for (int j = 0; j < 2; j++) finish_sources(j);
    for (int j = 0; j < 2; j++) middles(j);
    for (int node = 0; node < plan.cell.nodes; node++) {
        bool last_node = node + 1 == plan.cell.nodes;
        on_threads(space, [&](Scratch scratch, int, int first, int last) {
            NodeForward sum(*this, node, scratch);
            if (last_node) return each_image(*this, first, last, [&](int v, int n) { sum.image(v, n); });
            SourceForward work(*this, node + 2, scratch);
            each_image(*this, first, last, [&](int v, int n) {
                sum.image(v, n);
                work.image(v, n);
            });
        });
        if (last_node) break;
        finish_sources(node + 2);
        middles(node + 2);
    }
}

inline size_t Forward::scratch_floats() const {
    int last = plan.cell.nodes + 1;
    auto inputs = [&](int which) {
        return [=](Scratch& s) { PreprocessForward(*this, which, s); };
    };
    auto sources = [&](int j) {
        return [=](Scratch& s) {
            NodeForward(*this, last - 2, s);
            SourceForward(*this, j, s);
        };
    };
    auto second = [&](Scratch& s) { MiddleForward(*this, 0, s); };
    size_t floats = most(sources(0), sources(last), second);
    size_t before = plan.cell.preprocess ? most(inputs(0), inputs(1)) : 0;
    return floats > before ? floats : before;
}

inline void run_forward(const Pool& pool, const Plan& plan, const CellInputs& in, bool replay, const CellSaved& saved,
                        float* out) {
    Workspace space;
    Forward forward{{pool, plan, in, saved, out}, space, replay, out};
    size_t partial = size_t(in.V) * in.N * plan.norms;
    space.scratch_floats = forward.scratch_floats();
    float* memory = workspace(threads_for(pool, in) * space.scratch_floats + 2 * partial);
    space.scratch = memory;
    space.partial[0] = memory + threads_for(pool, in) * space.scratch_floats;
    space.partial[1] = space.partial[0] + partial;
    forward.run();
}
