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
        if (!in.training || norm >= plan.measured) return;
        for (int c = 0; c < channels; c++)
            moments(z + size_t(c) * count, count, partial_mean(v, n) + norm + c, partial_deviations(v, n) + norm + c);
    }

    // Statistics of `channels` channels from `norm` on, from those of the images of `count` pixels.
    void finish(size_t norm, int channels, int count) const {
        if (norm >= plan.measured) return;
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

  private:
    void preprocess() const;
    void middles(int j) const;
};
