// The phases of the forward, one after the other. Included once per instruction set, inside its namespace.

inline void Forward::preprocess() const {
    on_threads(space, [&](const Scratch& scratch, int first, int last) {
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
    on_threads(space, [&](Scratch scratch, int first, int last) {
        MiddleForward work(*this, j, scratch);
        each_image(*this, first, last, [&](int v, int n) { work.image(v, n); });
    });
    finish_middles(j);
}

inline void Forward::run() const {
    if (plan.cell.preprocess) preprocess();
    on_threads(space, [&](const Scratch& scratch, int first, int last) {
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
        on_threads(space, [&](Scratch scratch, int first, int last) {
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

inline void run_forward(const Pool& pool, const Plan& plan, const CellInputs& in, bool replay, const CellSaved& saved,
                        float* out) {
    Workspace space;
    Forward forward{{pool, plan, in, saved, out}, space, replay, out};
    size_t partial = size_t(in.V) * in.N * plan.norms;
    space.scratch_floats = scratch_of<PreprocessForward, SourceForward, MiddleForward, NodeForward>(forward);
    const Block block(forward.threads() * space.scratch_floats + 2 * partial);
    space.scratch = block.memory;
    space.partial[0] = block.memory + forward.threads() * space.scratch_floats;
    space.partial[1] = space.partial[0] + partial;
    forward.run();
}
