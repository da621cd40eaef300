// What the forward and the backward of a cell share: who works on which image, where planes lie, coefficients. Included
// once per instruction set, inside its namespace.

// A thread's scratch memory, handed out front to back. Without memory it only counts what is asked for.
struct Scratch {
    float* start = nullptr;
    size_t floats = 0, used = 0;

    float* take(size_t n) {
        size_t at = used;
        used += (n + 15) / 16 * 16;
        if (!start) return nullptr;
        if (used > floats) __builtin_trap();
        return start + at;
    }
    float* filled(size_t n, float value) {
        float* p = take(n);
        for (size_t i = 0; p && i < n; i++) p[i] = value;
        return p;
    }
};

// Memory of one call.
struct Workspace {
    float* scratch = nullptr;  // of thread 0; the others follow
    size_t scratch_floats = 0;
    float* partial[2];  // (V, N, norms) each: an image's share of two sums a channel
};

struct Pass {
    const Pool& pool;
    const Plan& plan;
    const CellInputs& in;
    const CellSaved& saved;
    const float* out;
    int V = in.V, N = in.N, C = plan.cell.channels, M = plan.mixed_channels;
    size_t pixels = plan.out_pixels(), in_pixels = plan.in_pixels();
    int together = 1;  // images of a learner that one thread takes

    const float* input(int which, int v, int n) const { return in.s[which] + v * in.learner[which] + n * in.image[which]; }
    // State j of one image: its planes lie one after the other.
    const float* state(int j, int v, int n) const {
        if (j >= 2) return out + (size_t(v * N + n) * plan.cell.nodes + j - 2) * C * pixels;
        if (!plan.cell.preprocess) return input(j, v, n);
        return saved.states + (size_t(v * N + n) * 2 + j) * C * in_pixels;
    }
    float* planes(int v, int n) const { return static_cast<float*>(saved.planes) + size_t(v * N + n) * plan.saved; }
    uint8_t* pattern(int v, int n) const { return saved.pattern + size_t(v * N + n) * plan.pattern; }
    const float* weights(int v) const { return in.weights + v * in.weights_row; }
    const float* mean(int v) const { return saved.stats + size_t(v) * 3 * plan.norms; }
    const float* scale(int v) const { return mean(v) + plan.norms; }

    float edge_weight(int v, const Edge& e) const {
        return in.edge_weights ? in.edge_weights[size_t(v) * plan.edges.size() + e.index] : 1.f;
    }
    float op_weight(int v, const Edge& e, const Mixed& m) const {
        return in.op_weights[(size_t(v) * plan.edges.size() + e.index) * plan.cell.ops_per_edge + m.index];
    }
    const uint8_t* dropout(const Edge& e, int v, int n) const {
        if (!in.dropout || e.dropout < 0) return nullptr;
        return in.dropout + (size_t(e.dropout * V + v) * N + n) * M * pixels;
    }

    // The planes that an operation's result is before its norm.
    size_t planes_of(const State& s, const Mixed& m) const {
        if (m.op == Op::max_pool) return s.max_z;
        if (m.op == Op::avg_pool) return s.avg_z;
        if (m.op == Op::skip) return m.reduce.z;
        return m.separable() ? m.second.z : m.first.z;
    }
    // A stride-1 skip has no norm; every other operation ends in one.
    static bool normed(const Edge& e, const Mixed& m) { return !(m.op == Op::skip && e.stride == 1); }

    // PC-DARTS's shuffle: every partial-th channel of a node is a mixed one; which channel of the state bypasses into
    // the node's channel c, and the other way round.
    bool bypassed(int c) const { return c % plan.cell.partial != 0; }
    int bypass_of(int c) const { return c % plan.cell.partial * M + c / plan.cell.partial; }
    int bypass_to(int channel) const { return channel % M * plan.cell.partial + channel / M; }
    // The plane of a bypassing channel as the edge's node reads it: the state's own, or pooled.
    const float* bypass_plane(const Edge& e, int channel, int v, int n) const {
        if (e.stride == 1) return state(e.source, v, n) + channel * pixels;
        return planes(v, n) + plan.states[e.source].bypass_z + (channel - M) * pixels;
    }

    // x, or what the dropout of the edge's skip leaves of it, in `room`; x belongs to mixed channel m.
    const float* dropped(const Edge& e, const float* x, int m, int v, int n, float* room) const {
        const uint8_t* kept = dropout(e, v, n);
        if (!kept) return x;
        for (size_t i = 0; i < pixels; i++) room[i] = kept[m * pixels + i] ? x[i] * in.dropout_scale : 0.f;
        return room;
    }

    // ReLU of a state's mixed channels, and of a separable convolution's middle, into Padded planes. row: room for one.
    void activate(int j, int v, int n, bool replay, const Padded& p, float* to, float* row) const {
        const State& s = plan.states[j];
        size_t count = size_t(s.H) * s.W, bits = s.H * bit_row(s.W);
        const float* x = state(j, v, n);
        for (int c = 0; c < M; c++)
            relu_to_padded({x + c * count, 0, 1, pattern(v, n) + s.bits + c * bits, replay}, p, to + c * p.plane, row);
    }
    void activate_middle(const Mixed& m, int v, int n, bool replay, const Padded& p, float* to, float* row) const {
        size_t bits = p.H * bit_row(p.W);
        const float* z = planes(v, n) + m.first.z;
        for (int c = 0; c < M; c++) {
            size_t norm = m.first.norm + c;
            relu_to_padded({z + c * pixels, mean(v)[norm], scale(v)[norm], pattern(v, n) + m.middle_bits + c * bits, replay},
                           p, to + c * p.plane, row);
        }
    }

    // Calls work(scratch, first, last) on every thread: its scratch memory and images, numbered n + N * v.
    template <class Work> void on_threads(const Workspace& space, const Work& work) const {
        struct Context {
            const Pass& pass;
            const Workspace& space;
            const Work& work;
        } context{*this, space, work};
        auto task = [](void* pointer, int thread) {
            Context& c = *static_cast<Context*>(pointer);
            float* start = c.space.scratch + thread * c.space.scratch_floats;
            c.work(Scratch{start, c.space.scratch_floats}, c.pass.first(thread), c.pass.first(thread + 1));
        };
        pool.run(threads(), task, &context);
    }
    int groups() const { return (N + together - 1) / together; }  // of a learner
    int threads() const { return pool.threads < V * groups() ? pool.threads : V * groups(); }
    int first(int thread) const {
        int group = int(int64_t(V) * groups() * thread / threads()), image = group % groups() * together;
        return group / groups() * N + image;
    }
};

inline void wipe(float* to, size_t n) { __builtin_memset(to, 0, n * sizeof(float)); }

// Calls step(v, n) for images first .. last - 1.
template <class Step> inline void each_image(const Pass& pass, int first, int last, const Step& step) {
    for (int i = first; i < last; i++) step(i / pass.N, i % pass.N);
}
