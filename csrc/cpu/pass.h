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

inline int threads_for(const Pool& pool, const CellInputs& in) {
    return pool.threads < in.V * in.N ? pool.threads : in.V * in.N;
}

struct Pass {
    const Pool& pool;
    const Plan& plan;
    const CellInputs& in;
    const CellSaved& saved;
    const float* out;
    int V = in.V, N = in.N, C = plan.cell.channels, M = plan.mixed_channels;
    size_t pixels = plan.out_pixels(), in_pixels = plan.in_pixels();

    // State j of one image: its planes lie one after the other.
    const float* state(int j, int v, int n) const {
        if (j >= 2) return out + (size_t(v * N + n) * plan.cell.nodes + j - 2) * C * pixels;
        if (!plan.cell.preprocess) return in.s[j] + v * in.learner[j] + n * in.image[j];
        return saved.states + (size_t(v * N + n) * 2 + j) * C * in_pixels;
    }
    float* planes(int v, int n) const { return saved.planes + size_t(v * N + n) * plan.saved; }
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

    // The node's channel that mixed channel m becomes, and the state's channel that bypasses into node channel c.
    int shuffled(int m) const { return m * plan.cell.partial; }
    bool bypassed(int c) const { return c % plan.cell.partial != 0; }
    int bypass_of(int c) const { return c % plan.cell.partial * M + c / plan.cell.partial; }

    // Calls work(scratch, first, last) on every thread: its images, numbered n + N * v, and its scratch memory.
    template <class Work> void on_threads(const Workspace& space, const Work& work) const {
        struct Context {
            const Pass& pass;
            const Workspace& space;
            const Work& work;
        } context{*this, space, work};
        auto task = [](void* pointer, int thread) {
            Context& c = *static_cast<Context*>(pointer);
            float* start = c.space.scratch + thread * c.space.scratch_floats;
            c.work(Scratch{start, c.space.scratch_floats}, thread, c.pass.first(thread), c.pass.first(thread + 1));
        };
        pool.run(threads(), task, &context);
    }
    // The most scratch memory that one of the phases takes.
    template <class... Phases> size_t most(const Phases&... phases) const {
        size_t floats = 0;
        auto consider = [&](const auto& phase) {
            Scratch count;
            phase(count);
            floats = count.used > floats ? count.used : floats;
        };
        (consider(phases), ...);
        return floats;
    }
    int threads() const { return threads_for(pool, in); }
    int first(int thread) const { return int(int64_t(V) * N * thread / threads()); }
};

inline void wipe(float* to, size_t n) { __builtin_memset(to, 0, n * sizeof(float)); }
