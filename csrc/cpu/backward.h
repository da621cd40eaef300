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
    float* hidden;               // (V, N, most halves of a state, M, pixels): of hidden activations
    float* weights;              // (V, groups, head.weights): shares of images that are together
};

struct Backward : Pass {
    const Workspace& space;
    const Gathered& gathered;
    const float* grad;
    const CellGradients& wanted;

    float* partial_one(int v, int n) const { return space.partial[0] + size_t(v * N + n) * head.norms; }
    float* partial_z(int v, int n) const { return space.partial[1] + size_t(v * N + n) * head.norms; }
    float* skip(int v, int n) const { return gathered.skip + size_t(v * N + n) * program.edges.size(); }
    float* bypass(int v, int n) const { return gathered.bypass + size_t(v * N + n) * program.edges.size(); }
    const float* along_one(int v) const { return gathered.along_one + v * head.norms; }
    const float* along_z(int v) const { return gathered.along_z + v * head.norms; }
    float* share(int v, int n) const { return gathered.weights + size_t(v * groups() + n / together) * head.weights; }
    bool past_inputs() const { return wanted.weights || wanted.s[0] || wanted.s[1]; }

    const float* incoming(int node, int v, int n) const {
        return grad + size_t(v * N + n) * program.node_gradients() + program.states[node + 2].offset;
    }
    // Where the gradient of a node lies, by its offset: complete once the states after it are done.
    const float* gradient(size_t offset, int v, int n) const {
        const size_t all = program.node_gradients(), last = all - C * pixels, image = v * N + n;
        return offset >= last ? grad + image * all + offset : gathered.nodes + image * last + offset;
    }
    const float* node_gradient(int node, int v, int n) const { return gradient(node * C * pixels, v, n); }
    // Where the gradient of a state goes; null where nobody wants it.
    float* state_gradient(int j, int v, int n) const {
        const size_t offset = program.states[j].offset;
        if (j >= 2) return const_cast<float*>(gradient(offset, v, n));
        if (head.preprocess) return gathered.states + size_t(v * N + n) * 2 * C * in_pixels + offset;
        return wanted.s[j] ? wanted.s[j] + v * in.learner[j] + n * in.image[j] : nullptr;
    }
    // Of what a state's i-th second half reads; kept until the state is done.
    float* hidden_gradient(const rows::State& s, int i, int v, int n) const {
        return gathered.hidden + (size_t(v * N + n) * s.halves + i) * M * pixels;
    }

    // dz of a norm's input z, from the gradient g of weight times its output.
    template <bool ADD = false>
    void unnorm(const float* g, const float* z, size_t norm, float weight, float* dz, int v) const {
        norm_gradient<ADD>(g, z, weight * scale(v)[norm], along_one(v)[norm], along_z(v)[norm], mean(v)[norm], dz, int(pixels));
    }
    // The same for every channel of a convolution's result, whose norm's output receives g.
    void unnorm(const rows::Conv& conv, const float* g, float* dz, size_t dz_plane, int v, int n) const {
        const float* z = planes(v, n) + conv.z;
        const float factor = weight(v, conv);
        for (int c = 0; c < conv.outs; c++)
            unnorm(g + size_t(c) * conv.grad_step, z + c * pixels, conv.norm + c, factor, dz + c * dz_plane, v);
    }

    // The sums of a norm's channels, over images of `count` pixels. normalised: z already was.
    void finish(size_t norm, int channels, size_t count, bool normalised = false) const {
        for (int v = 0; v < V; v++)
            for (int c = 0; c < channels; c++) {
                size_t at = norm + c, to = v * head.norms + at;
                double one = 0, z = 0, size = double(N) * count;
                for (int n = 0; n < N; n++) {
                    one += partial_one(v, n)[at];
                    z += partial_z(v, n)[at];
                }
                double factor = normalised ? 1 : double(scale(v)[at]);
                bool measured = in.training && norm < size_t(head.measured);
                gathered.dot[to] = float(z * factor);
                gathered.along_one[to] = measured ? float(one / size) : 0;
                gathered.along_z[to] = measured ? float(z * factor * factor / size) : 0;
            }
    }

    void finish_node(int node) const {
        for (const rows::Edge& e : program.in_edges_of(node))
            for (const rows::Term& term : program.sum_of(e))
                if (term.norm != rows::OUT) finish(term.norm, M, pixels);
    }

    void run() const;

  private:
    void node(int node) const;
    void hidden(int j) const;
    void sources(int j) const;
    void preprocess() const;
    void mixture() const;
};
