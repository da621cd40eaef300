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
    float* nodes;                // (V, N, nodes - 1, C, pixels): gradients of the nodes but the last
    float* states;               // (V, N, 2, C, in_pixels): of the preprocessed inputs
    float* middles;              // (V, N, most middles of a state, M, pixels): of separable convolutions' ReLUs
    float* weights;              // (V, groups, plan.weights): shares of images that are together
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
    float* share(int v, int n) const { return gathered.weights + size_t(v * groups() + n / together) * plan.weights; }
    bool past_inputs() const { return wanted.weights || wanted.s[0] || wanted.s[1]; }

    const float* incoming(int node, int v, int n) const {
        return grad + (size_t(v * N + n) * plan.cell.nodes + node) * C * pixels;
    }
    // Gradient of a node: complete once the states after it are done.
    const float* node_gradient(int node, int v, int n) const {
        if (node + 1 == plan.cell.nodes) return incoming(node, v, n);
        return gathered.nodes + (size_t(v * N + n) * (plan.cell.nodes - 1) + node) * C * pixels;
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
                bool measured = in.training && norm < plan.measured;
                gathered.dot[to] = float(z * factor);
                gathered.along_one[to] = measured ? float(one / size) : 0;
                gathered.along_z[to] = measured ? float(z * factor * factor / size) : 0;
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

  private:
    void node(int node) const;
    void middles(int j) const;
    void sources(int j) const;
    void preprocess() const;
    void mixture() const;
};
