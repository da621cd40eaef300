// The backward of a cell, image by image between the sums that batch norms need. Included once per instruction set,
// inside its namespace.
//
// Phases, each over all images: last node's sums | from the last state with out-edges to the first: second halves of
// the separable convolutions, then everything else on its out-edges and the sums of the node that it is | preprocess.

// Where the backward keeps what outlives a phase. Sums are over images and pixels, for each norm's channels.
struct Gathered {
    float *along_one, *along_z;  // (V, norms): mean of g; mean of g * (z - mean) / variance
    float* dot;                  // (V, norms): sum of g * normalised z
    float *skip, *bypass;        // (V, N, E): sum of g * x over the mixed, over the bypassing channels
    float* nodes;                // (V, N, nodes, C, pixels): gradients of the nodes
    float* states;               // (V, N, 2, C, in_pixels): of the preprocessed inputs
    float* middles;              // (V, N, most middles of a state, M, pixels): of separable convolutions' ReLUs
    float* weights;              // (threads + V - 1, plan.weights): a thread's share of a learner's
};

struct Backward : Pass {
    const Workspace& space;
    const Gathered& gathered;
    const float* grad;
    const CellGradients& wanted;

    float* partial_one(int v, int n) const { return space.partial[0] + size_t(v * N + n) * plan.norms; }
    float* partial_z(int v, int n) const { return space.partial[1] + size_t(v * N + n) * plan.norms; }
    float* skip(int v, int n) const { return gathered.skip + size_t(v * N + n) * plan.edges.size(); }
    float* bypass(int v, int n) const { return gathered.bypass + size_t(v * N + n) * plan.edges.size(); }
    const float* along_one(int v) const { return gathered.along_one + v * plan.norms; }
    const float* along_z(int v) const { return gathered.along_z + v * plan.norms; }
    float* share(int thread, int v) const { return gathered.weights + size_t(thread + v) * plan.weights; }
    bool past_inputs() const { return wanted.weights || wanted.s[0] || wanted.s[1]; }

    const float* incoming(int node, int v, int n) const {
        return grad + (size_t(v * N + n) * plan.cell.nodes + node) * C * pixels;
    }
    // Gradient of a node: complete once the states after it are done.
    const float* node_gradient(int node, int v, int n) const {
        if (node + 1 == plan.cell.nodes) return incoming(node, v, n);
        return gathered.nodes + (size_t(v * N + n) * plan.cell.nodes + node) * C * pixels;
    }
    // Where the gradient of a state goes; null where nobody wants it.
    float* state_gradient(int j, int v, int n) const {
        if (j >= 2) return const_cast<float*>(node_gradient(j - 2, v, n));
        if (plan.cell.preprocess) return gathered.states + (size_t(v * N + n) * 2 + j) * C * in_pixels;
        return wanted.s[j] ? wanted.s[j] + v * in.learner[j] + n * in.image[j] : nullptr;
    }
    float* middle_gradient(const State& s, const Mixed& m, int v, int n) const {
        return gathered.middles + (size_t(v * N + n) * s.middles + m.middle) * M * pixels;
    }

    // dz[c] of a norm's input, from the gradients g[c] of weight times its output.
    template <bool ADD = false>
    void unnorm(const float* g, size_t g_plane, const float* z, size_t norm, float weight, int channels, float* dz,
                size_t dz_plane, int v) const {
        for (int c = 0; c < channels; c++)
            norm_gradient<ADD>(g + c * g_plane, z + c * pixels, weight * scale(v)[norm + c], along_one(v)[norm + c],
                               along_z(v)[norm + c], mean(v)[norm + c], dz + c * dz_plane, int(pixels));
    }

    // The sums of a norm's channels, over images of `count` pixels. normalised: z already was.
    void finish(size_t norm, int channels, size_t count, bool normalised = false) const {
        for (int v = 0; v < V; v++)
            for (int c = 0; c < channels; c++) {
                size_t at = norm + c, to = v * plan.norms + at;
                double one = 0, z = 0, size = double(N) * count;
                for (int n = 0; n < N; n++) {
                    one += partial_one(v, n)[at];
                    z += partial_z(v, n)[at];
                }
                double factor = normalised ? 1 : double(scale(v)[at]);
                gathered.dot[to] = float(z * factor);
                gathered.along_one[to] = in.training ? float(one / size) : 0;
                gathered.along_z[to] = in.training ? float(z * factor * factor / size) : 0;
            }
    }

    void finish_node(int node) const {
        for (const Edge& e : plan.edges) {
            if (e.node != node) continue;
            for (const Mixed& m : e.ops)
                if (normed(e, m)) finish(m.last_norm(e.stride), M, pixels);
            if (e.aux && e.stride == 2) finish(e.aux_reduce.norm, C, pixels);
        }
    }

    void run() const;
    size_t scratch_floats() const;

  private:
    void node(int node) const;
    void middles(int j) const;
    void sources(int j) const;
    void preprocess() const;
    void add_shares() const;
    void mixture() const;
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
        const float* x = b.state(e.source, v, n) + m * b.pixels;
        const float zero = 0;
        float sum;
        if (const uint8_t* kept = b.dropout(e, v, n)) {
            for (size_t i = 0; i < b.pixels; i++) dropped[i] = kept[m * b.pixels + i] ? x[i] * b.in.dropout_scale : 0.f;
            x = dropped;
        }
        dots(g, int(b.pixels), 1, &x, &zero, &sum);
        return sum;
    }

    void bypass(const float* g, int channel, int v, int n) {
        const float zero = 0;
        for (const Edge& e : b.plan.edges) {
            if (e.node != node) continue;
            const float* x = e.stride == 1 ? b.state(e.source, v, n) + channel * b.pixels
                                           : b.planes(v, n) + b.plan.states[e.source].bypass_z + (channel - b.M) * b.pixels;
            float sum;
            dots(g, int(b.pixels), 1, &x, &zero, &sum);
            b.bypass(v, n)[e.index] += sum;
        }
    }
};

// One thread's backward through depthwise and pointwise convolutions into a Blocked sum of input gradients.
struct ConvBackward {
    const Backward& b;
    int thread, stride, H, W;
    Padded padded, grads;
    Blocked blocked;
    size_t compact;
    float *active, *dz, *deep, *deep_grad, *padded_grad, *sum, *gram_room, *row;

    ConvBackward(const Backward& b, int thread, const State& s, int stride, Scratch& scratch)
        : b(b), thread(thread), stride(stride), H(s.out_H), W(s.out_W), padded(H, W, stride), grads(H, W, 1),
          blocked(H, W, stride), compact(compact_plane(H, W)) {
        int M = b.M;
        active = scratch.filled(b.wanted.weights ? M * padded.plane : 0, 0.f);
        dz = scratch.take(M * compact);
        deep = scratch.take(M * compact);
        deep_grad = scratch.take(M * compact);
        padded_grad = scratch.filled(M * grads.plane, 0.f);
        sum = scratch.take(M * blocked.plane);
        gram_room = scratch.take(gram_scratch(M, int(b.pixels)));
        row = scratch.take(stride * W + 16);
    }

    void start() { wipe(sum, b.M * blocked.plane); }

    // From dz, the gradients of a half's outputs.
    void convolve(const Half& half, int kernel, int dilation, int v) {
        Depthwise depthwise = depthwise_for(kernel, dilation, stride, W);
        const float* w = b.weights(v);
        int M = b.M, taps = kernel * kernel;
        pointwise({w + half.pointwise, 1, M}, M, M, dz, compact, deep_grad, compact, int(b.pixels));
        float* dw = b.wanted.weights ? b.share(thread, v) : nullptr;
        for (int c = 0; c < M; c++) {
            const float* taps_of = w + half.depthwise + c * taps;
            float* g = padded_grad + c * grads.plane;
            copy_to_padded(deep_grad + c * compact, grads, g);
            depthwise.input_gradient(g, grads, taps_of, sum + c * blocked.plane, blocked);
            if (!dw) continue;
            depthwise.forward(active + c * padded.plane, padded, taps_of, deep + c * compact);
            depthwise.weight_gradient(g, grads, active + c * padded.plane, padded, dw + half.depthwise + c * taps);
        }
        if (dw) gram(dz, compact, M, deep, compact, M, int(b.pixels), dw + half.pointwise, gram_room);
    }
};

// One thread's work on the second halves of separable convolutions on a state's out-edges.
struct MiddleBackward {
    const Backward& b;
    const State& s;
    ConvBackward conv;

    MiddleBackward(const Backward& b, int thread, int j, Scratch& scratch)
        : b(b), s(b.plan.states[j]), conv(b, thread, s, 1, scratch) {}

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
        for (int c = 0; c < b.M && b.wanted.weights; c++) {
            size_t norm = m.first.norm + c;
            relu_to_padded({first + c * b.pixels, b.mean(v)[norm], b.scale(v)[norm], pattern + c * bits, true}, conv.padded,
                           conv.active + c * conv.padded.plane, conv.row);
        }
        conv.start();
        conv.convolve(m.second, m.kernel, 1, v);
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

// One thread's work on everything else on a state's out-edges.
struct SourceBackward {
    const Backward& b;
    const State& s;
    int j;
    size_t count, g_plane;
    ConvBackward conv;
    float *even, *odd, *pooled, *pooled_sum, *dropped;
    const float** terms;
    float *scales, *zeros;

    SourceBackward(const Backward& b, int thread, int j, Scratch& scratch)
        : b(b), s(b.plan.states[j]), j(j), count(size_t(s.H) * s.W), g_plane(b.plan.cell.partial * b.pixels),
          conv(b, thread, s, s.stride, scratch) {
        even = scratch.take(s.stride == 2 ? b.M * conv.compact : 0);
        odd = scratch.take(s.stride == 2 ? b.M * conv.compact : 0);
        pooled = scratch.take(2 * conv.compact);
        pooled_sum = scratch.take(count + 16);
        dropped = scratch.take((b.plan.cell.nodes + 1) * b.pixels);
        terms = (const float**)scratch.take(2 * b.plan.edges.size() + 16);
        scales = scratch.take(b.plan.edges.size() + 8);
        zeros = scratch.filled(b.plan.edges.size() + 8, 0.f);
    }

    void image(int v, int n) {
        conv.start();
        if (s.active && b.wanted.weights) activate(v, n);
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
    void activate(int v, int n) {
        const float* x = b.state(j, v, n);
        size_t bits = s.H * bit_row(s.W);
        for (int c = 0; c < b.M; c++)
            relu_to_padded({x + c * count, 0, 1, b.pattern(v, n) + s.bits + c * bits, true}, conv.padded,
                           conv.active + c * conv.padded.plane, conv.row);
    }

    void convolve(const Edge& e, const Mixed& m, int v, int n) {
        const float* z = b.planes(v, n) + m.first.z;
        if (m.separable())
            b.unnorm(b.middle_gradient(s, m, v, n), b.pixels, z, m.first.norm, 1, b.M, conv.dz, conv.compact, v);
        else
            b.unnorm(b.node_gradient(e.node, v, n), g_plane, z, m.first.norm, b.edge_weight(v, e) * b.op_weight(v, e, m),
                     b.M, conv.dz, conv.compact, v);
        conv.convolve(m.first, m.kernel, m.dilation, v);
    }

    // A factorised reduction of all mixed channels.
    void reduce(const Factorized& r, int outs, float weight, const Edge& e, int v, int n) {
        const float* w = b.weights(v);
        int ins = b.M, half = outs / 2, pixels = int(b.pixels);
        b.unnorm(b.node_gradient(e.node, v, n), g_plane, b.planes(v, n) + r.z, r.norm, weight, outs, conv.dz, conv.compact,
                 v);
        const float* lower = conv.dz + half * conv.compact;
        if (b.wanted.weights) {
            float* dw = b.share(conv.thread, v);
            for (int c = 0; c < ins; c++) subsample(conv.active + c * conv.padded.plane, c);
            gram(conv.dz, conv.compact, half, even, conv.compact, ins, pixels, dw + r.even, conv.gram_room);
            gram(lower, conv.compact, half, odd, conv.compact, ins, pixels, dw + r.odd, conv.gram_room);
        }
        pointwise({w + r.even, 1, ins}, ins, half, conv.dz, conv.compact, even, conv.compact, pixels);
        pointwise({w + r.odd, 1, ins}, ins, half, lower, conv.compact, odd, conv.compact, pixels);
        for (int c = 0; c < ins; c++) spread(c, conv.sum + c * conv.blocked.plane);
    }

    void subsample(const float* from, int c) {
        const Padded& p = conv.padded;
        const float* origin = from + PAD * p.row + PAD;
        for (int y = 0; y < s.out_H; y++) {
            size_t bytes = s.out_W * sizeof(float);
            __builtin_memcpy(even + c * conv.compact + y * s.out_W, origin + 2 * y * p.row, bytes);
            __builtin_memcpy(odd + c * conv.compact + y * s.out_W, origin + p.phase + (2 * y + 1) * p.row, bytes);
        }
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
            pools(m, v, n);
            add(pooled_sum, 1);
        }
        if (j >= 2) add(b.incoming(j - 2, v, n) + m * count, 1);
        for (int index : s.out_edges) {
            const Edge& e = b.plan.edges[index];
            if (e.stride == 2) continue;
            const float* g = b.node_gradient(e.node, v, n) + m * g_plane;
            float whole = b.edge_weight(v, e);
            for (const Mixed& op : e.ops)
                if (op.op == Op::skip) add(kept(e, g, m, v, n), whole * b.op_weight(v, e, op));
            if (e.aux) add(g, whole * b.in.skip_beta);
        }
        combine(used, terms, zeros, scales, to, int(count));
    }

    const float* kept(const Edge& e, const float* g, int m, int v, int n) {
        const uint8_t* mask = b.dropout(e, v, n);
        if (!mask) return g;
        float* to = dropped + e.node * b.pixels;
        for (size_t i = 0; i < b.pixels; i++) to[i] = mask[m * b.pixels + i] ? g[i] * b.in.dropout_scale : 0.f;
        return to;
    }

    // What the ReLU lets through of the convolutions' gradients.
    void close(int m, int v, int n, float* to) {
        const uint8_t* bits = b.pattern(v, n) + s.bits + m * s.H * bit_row(s.W);
        const float* from = conv.sum + m * conv.blocked.plane;
        if (s.stride == 1) return keep_rows(from, conv.blocked.row, bits, s.H, s.W, to);
        for (int y = 0; y < s.H; y++) {
            const float* row = from + y * conv.blocked.row;
            for (int x = 0; x < s.W / 2; x++) {
                conv.row[2 * x] = row[x];
                conv.row[2 * x + 1] = row[conv.blocked.phase + x];
            }
            keep_rows(conv.row, s.W, bits + y * bit_row(s.W), 1, s.W, to + size_t(y) * s.W);
        }
    }

    void pools(int m, int v, int n) {
        wipe(pooled_sum, count);
        const float* planes = b.planes(v, n);
        const uint8_t* codes = b.pattern(v, n) + s.codes + m * s.out_H * code_row(s.out_W);
        if (pool(Op::max_pool, planes + s.max_z, m, v, n)) max_pool_gradient(pooled, conv.padded, codes, pooled_sum);
        if (pool(Op::avg_pool, planes + s.avg_z, m, v, n)) avg_pool_gradient(pooled, conv.padded, pooled_sum);
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
        int used = 0, P = b.plan.cell.partial, c = channel % b.M * P + channel / b.M;
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
        wipe(to, count);
        size_t codes = s.out_H * code_row(s.out_W);
        bypass_pool_gradient(pooled, s.out_H, s.out_W, b.pattern(v, n) + s.bypass_codes + (channel - b.M) * codes, to);
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

// One thread's work on an input.
struct PreprocessBackward {
    const Backward& b;
    int thread, which;
    const Preprocess& p;
    size_t wide, narrow;
    float *dz, *active, *even, *odd, *dx, *gram_room;

    PreprocessBackward(const Backward& b, int thread, int which, Scratch& scratch)
        : b(b), thread(thread), which(which), p(b.plan.preprocess[which]), wide(compact_plane(p.H, p.W)),
          narrow(compact_plane(b.plan.H, b.plan.W)) {
        dz = scratch.take(b.C * narrow);
        active = scratch.take(p.shrink ? wide : p.channels * wide);
        even = scratch.take(p.shrink ? p.channels * narrow : 0);
        odd = scratch.take(p.shrink ? p.channels * narrow : 0);
        dx = scratch.take(p.shrink ? wide : p.channels * wide);
        gram_room = scratch.take(gram_scratch(p.channels, int(b.in_pixels)));
    }

    void image(int v, int n) {
        const float *g = b.state_gradient(which, v, n), *x = b.state(which, v, n);
        for (int c = 0; c < b.C; c++) {
            size_t norm = p.norm + c;
            norm_gradient(g + c * b.in_pixels, x + c * b.in_pixels, b.scale(v)[norm], b.along_one(v)[norm],
                          b.along_z(v)[norm], 0, dz + c * narrow, int(b.in_pixels));
        }
        if (b.wanted.weights) weights(v, n);
        if (b.wanted.s[which]) input(v, n);
    }

  private:
    const float* lower() const { return dz + b.C / 2 * narrow; }

    void weights(int v, int n) {
        const float* x = b.in.s[which] + v * b.in.learner[which] + n * b.in.image[which];
        size_t bits = p.H * bit_row(p.W);
        float* dw = b.share(thread, v);
        int count = int(b.in_pixels), half = b.C / 2;
        for (int c = 0; c < p.channels; c++) {
            float* to = active + (p.shrink ? 0 : c * wide);
            relu_to_compact({x + size_t(c) * p.H * p.W, 0, 1, b.pattern(v, n) + p.bits + c * bits, true}, p.H, p.W, to);
            if (p.shrink) subsample(to, even + c * narrow, odd + c * narrow);
        }
        if (!p.shrink) return gram(dz, narrow, b.C, active, wide, p.channels, count, dw + p.weight, gram_room);
        gram(dz, narrow, half, even, narrow, p.channels, count, dw + p.weight, gram_room);
        gram(lower(), narrow, half, odd, narrow, p.channels, count, dw + p.odd, gram_room);
    }

    void subsample(const float* from, float* to_even, float* to_odd) {
        for (int y = 0; y < b.plan.H; y++)
            for (int x = 0; x < b.plan.W; x++) {
                const float* corner = from + size_t(2 * y) * p.W + 2 * x;
                to_even[y * b.plan.W + x] = corner[0];
                to_odd[y * b.plan.W + x] = corner[p.W + 1];
            }
    }

    void input(int v, int n) {
        const float* w = b.weights(v);
        const uint8_t* bits = b.pattern(v, n) + p.bits;
        float* to = b.wanted.s[which] + v * b.in.learner[which] + n * b.in.image[which];
        int count = int(b.in_pixels), half = b.C / 2, ins = p.channels;
        size_t plane = size_t(p.H) * p.W, plane_bits = p.H * bit_row(p.W);
        if (p.shrink) {
            pointwise({w + p.weight, 1, ins}, ins, half, dz, narrow, even, narrow, count);
            pointwise({w + p.odd, 1, ins}, ins, half, lower(), narrow, odd, narrow, count);
        } else {
            pointwise({w + p.weight, 1, ins}, ins, b.C, dz, narrow, dx, wide, count);
        }
        for (int c = 0; c < ins; c++) {
            if (p.shrink) spread(even + c * narrow, odd + c * narrow);
            keep_rows(dx + (p.shrink ? 0 : c * wide), p.W, bits + c * plane_bits, p.H, p.W, to + c * plane);
        }
    }

    void spread(const float* from_even, const float* from_odd) {
        wipe(dx, size_t(p.H) * p.W);
        for (int y = 0; y < b.plan.H; y++)
            for (int x = 0; x < b.plan.W; x++) {
                float* corner = dx + size_t(2 * y) * p.W + 2 * x;
                corner[0] = from_even[y * b.plan.W + x];
                corner[p.W + 1] = from_odd[y * b.plan.W + x];
            }
    }
};

inline void Backward::node(int node) const {
    on_threads(space, [&](Scratch scratch, int, int first, int last) {
        NodeBackward sums(*this, node, scratch);
        each_image(*this, first, last, [&](int v, int n) { sums.image(v, n); });
    });
    finish_node(node);
}

inline void Backward::middles(int j) const {
    if (!plan.states[j].middles) return;
    on_threads(space, [&](Scratch scratch, int thread, int first, int last) {
        MiddleBackward work(*this, thread, j, scratch);
        each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
    });
    for (int e : plan.states[j].out_edges)
        for (const Mixed& m : plan.edges[e].ops)
            if (m.separable()) finish(m.first.norm, M, pixels);
}

inline void Backward::sources(int j) const {
    on_threads(space, [&](Scratch scratch, int thread, int first, int last) {
        SourceBackward work(*this, thread, j, scratch);
        if (j < 2) return each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
        NodeBackward sums(*this, j - 2, scratch);
        each_image(*this, first, last, [&](int v, int n) {
            work.image(v, n);
            sums.image(v, n);
        });
    });
    if (j >= 2) finish_node(j - 2);
}

inline void Backward::preprocess() const {
    for (const Preprocess& p : plan.preprocess) finish(p.norm, C, in_pixels, true);
    on_threads(space, [&](const Scratch& scratch, int thread, int first, int last) {
        for (int which = 0; which < 2; which++) {
            if (!wanted.weights && !wanted.s[which]) continue;
            Scratch mine = scratch;
            PreprocessBackward work(*this, thread, which, mine);
            each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
        }
    });
}

// The threads' shares of the weight gradients, added in the order of threads.
inline void Backward::add_shares() const {
    struct Context {
        const Backward& b;
    } context{*this};
    pool.run(
        pool.threads,
        [](void* pointer, int part) {
            const Backward& b = static_cast<Context*>(pointer)->b;
            size_t P = b.plan.weights, from = P * part / b.pool.threads, to = P * (part + 1) / b.pool.threads;
            for (int v = 0; v < b.V; v++) {
                float* sum = b.wanted.weights + v * P;
                wipe(sum + from, to - from);
                for (int t = 0; t < b.threads(); t++) {
                    if (b.first(t) >= (v + 1) * b.N || b.first(t + 1) <= v * b.N) continue;
                    const float* share = b.share(t, v);
                    for (size_t i = from; i < to; i++) sum[i] += share[i];
                }
            }
        },
        &context);
}

// Gradients of the operations' and the edges' weights.
inline void Backward::mixture() const {
    size_t E = plan.edges.size(), O = plan.cell.ops_per_edge;
    wipe(wanted.op_weights, V * E * O);
    auto total = [&](int v, size_t norm, int channels) {
        double sum = 0;
        for (int c = 0; c < channels; c++) sum += gathered.dot[v * plan.norms + norm + c];
        return sum;
    };
    for (int v = 0; v < V; v++)
        for (const Edge& e : plan.edges) {
            double skips = 0, edge = 0, whole = edge_weight(v, e);
            for (int n = 0; n < N; n++) {
                skips += skip(v, n)[e.index];
                edge += bypass(v, n)[e.index];
            }
            for (const Mixed& m : e.ops) {
                double dot = normed(e, m) ? total(v, m.last_norm(e.stride), M) : skips;
                wanted.op_weights[(v * E + e.index) * O + m.index] = float(whole * dot);
                edge += op_weight(v, e, m) * dot;
            }
            if (e.aux) edge += in.skip_beta * (e.stride == 2 ? total(v, e.aux_reduce.norm, C) : skips);
            if (wanted.edge_weights) wanted.edge_weights[v * E + e.index] = float(edge);
        }
}

inline void Backward::run() const {
    if (wanted.weights)
        on_threads(space, [&](const Scratch&, int thread, int first, int last) {
            for (int v = first / N; v * N < last; v++) wipe(share(thread, v), plan.weights);
        });
    node(plan.cell.nodes - 1);
    for (int j = plan.cell.nodes; j >= 0; j--) {
        middles(j);
        sources(j);
    }
    if (plan.cell.preprocess && past_inputs()) preprocess();
    if (wanted.weights) add_shares();
    mixture();
}

inline size_t Backward::scratch_floats() const {
    int last = plan.cell.nodes + 1;
    auto inputs = [&](int which) {
        return [=](Scratch& s) { PreprocessBackward(*this, 0, which, s); };
    };
    auto sources = [&](int j) {
        return [=](Scratch& s) {
            SourceBackward(*this, 0, j, s);
            NodeBackward(*this, last - 2, s);
        };
    };
    auto second = [&](Scratch& s) { MiddleBackward(*this, 0, 0, s); };
    size_t floats = most(sources(0), sources(last), second);
    size_t before = plan.cell.preprocess ? most(inputs(0), inputs(1)) : 0;
    return floats > before ? floats : before;
}

inline void run_backward(const Pool& pool, const Plan& plan, const CellInputs& in, const CellSaved& saved,
                         const float* out, const float* grad, const CellGradients& wanted) {
    Workspace space;
    Gathered gathered{};
    Backward backward{{pool, plan, in, saved, out}, space, gathered, grad, wanted};
    size_t images = size_t(in.V) * in.N, norms = in.V * plan.norms, middles = 0;
    for (const State& s : plan.states) middles = s.middles > int(middles) ? s.middles : middles;
    size_t threads = threads_for(pool, in);
    space.scratch_floats = backward.scratch_floats();
    struct {
        float** at;
        size_t floats;
    } parts[] = {
        {&space.scratch, threads * space.scratch_floats},
        {&space.partial[0], images * plan.norms},
        {&space.partial[1], images * plan.norms},
        {&gathered.along_one, norms},
        {&gathered.along_z, norms},
        {&gathered.dot, norms},
        {&gathered.skip, images * plan.edges.size()},
        {&gathered.bypass, images * plan.edges.size()},
        {&gathered.nodes, images * plan.cell.nodes * plan.cell.channels * plan.out_pixels()},
        {&gathered.states, plan.cell.preprocess ? images * 2 * plan.cell.channels * plan.in_pixels() : 0},
        {&gathered.middles, images * middles * plan.mixed_channels * plan.out_pixels()},
        {&gathered.weights, wanted.weights ? (threads + in.V - 1) * plan.weights : 0},
    };
    size_t total = 0;
    for (const auto& part : parts) total += (part.floats + 15) / 16 * 16;
    float* memory = workspace(total);
    for (const auto& part : parts) {
        *part.at = memory;
        memory += (part.floats + 15) / 16 * 16;
    }
    backward.run();
}
