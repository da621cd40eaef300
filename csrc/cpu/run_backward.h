// The phases of the backward, one after the other. Included once per instruction set, inside its namespace.

inline void Backward::node(int node) const {
    on_threads(space, [&](Scratch scratch, int first, int last) {
        NodeBackward sums(*this, node, scratch);
        each_image(*this, first, last, [&](int v, int n) { sums.image(v, n); });
    });
    finish_node(node);
}

inline void Backward::middles(int j) const {
    if (!plan.states[j].middles) return;
    on_threads(space, [&](Scratch scratch, int first, int last) {
        MiddleBackward work(*this, j, scratch);
        each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
    });
    for (int e : plan.states[j].out_edges)
        for (const Mixed& m : plan.edges[e].ops)
            if (m.separable()) finish(m.first.norm, M, pixels);
}

inline void Backward::sources(int j) const {
    on_threads(space, [&](Scratch scratch, int first, int last) {
        SourceBackward work(*this, j, scratch);
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
    on_threads(space, [&](const Scratch& scratch, int first, int last) {
        for (int which = 0; which < 2; which++) {
            if (!wanted.weights && !wanted.s[which]) continue;
            Scratch mine = scratch;
            PreprocessBackward work(*this, which, mine);
            each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
        }
    });
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
        on_threads(space, [&](const Scratch&, int first, int last) {
            each_image(*this, first, last, [&](int v, int n) {
                if (n % together == 0) wipe(share(v, n), plan.weights);
            });
        });
    node(plan.cell.nodes - 1);
    for (int j = plan.cell.nodes; j >= 0; j--) {
        middles(j);
        sources(j);
    }
    if (plan.cell.preprocess && past_inputs()) preprocess();
    if (wanted.weights) add_shares(pool, V, groups(), plan.weights, gathered.weights, wanted.weights);
    mixture();
}

inline void run_backward(const Pool& pool, const Plan& plan, const CellInputs& in, const CellSaved& saved,
                         const float* out, const float* grad, const CellGradients& wanted) {
    Workspace space;
    Gathered gathered{};
    Backward backward{{pool, plan, in, saved, out}, space, gathered, grad, wanted};
    size_t images = size_t(in.V) * in.N, norms = in.V * plan.norms, middles = 0;
    for (const State& s : plan.states) middles = s.middles > int(middles) ? s.middles : middles;
    if (wanted.weights) backward.together = images_of_share(in.N, backward.pixels);
    size_t threads = backward.threads();
    space.scratch_floats = scratch_of<PreprocessBackward, SourceBackward, MiddleBackward, NodeBackward>(backward);
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
        {&gathered.nodes, images * (plan.cell.nodes - 1) * plan.cell.channels * plan.out_pixels()},
        {&gathered.states, plan.cell.preprocess ? images * 2 * plan.cell.channels * plan.in_pixels() : 0},
        {&gathered.middles, images * middles * plan.mixed_channels * plan.out_pixels()},
        {&gathered.weights, wanted.weights ? in.V * backward.groups() * plan.weights : 0},
    };
    size_t total = 0;
    for (const auto& part : parts) total += (part.floats + 15) / 16 * 16;
    const Block block(total);
    float* memory = block.memory;
    for (const auto& part : parts) {
        *part.at = memory;
        memory += (part.floats + 15) / 16 * 16;
    }
    backward.run();
}
