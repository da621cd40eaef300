// Cells of every kind, forward and backward, in arrays of exactly their size; the gradients are those of a difference of
// the loss.

#ifdef SIMULATED
#include "../cuda/jobs.h"
#include "../cuda/table.h"
#endif
#include "../mixed_cell.h"

#include "../../build/programs.h"
#include "check.h"

using namespace sgl_fast;

struct Batch {
    Program program;
    int V, N;
};

struct Run {
    const Batch& b;
    const Program& program = b.program;
    const rows::Head& head = program.head;
    size_t images = size_t(b.V) * b.N, nodes = images * program.node_gradients();
    Floats s[2], weights, mixture, edges, grad;
    Floats out, states, stats;
    std::vector<uint8_t> planes, pattern;
    float skip_beta = 0.5f;
    bool half = false;

    explicit Run(const Batch& batch) : b(batch) {
        for (int which = 0; which < 2; which++) {
            size_t floats = head.C * program.in_pixels();
            for (const rows::Conv& conv : program.input_convs(which))
                floats = size_t(conv.ins) * conv.height * conv.width;
            s[which] = normal(images * floats);
        }
        weights = normal(b.V * head.weights);
        mixture = normal(b.V * program.edges.size() * head.ops);
        edges = normal(b.V * program.edges.size());
        grad = normal(nodes);
    }

    CellInputs inputs() const {
        CellInputs in{};
        in.V = b.V;
        in.N = b.N;
        for (int i = 0; i < 2; i++) {
            in.s[i] = s[i].data();
            in.image[i] = s[i].size() / images;
            in.learner[i] = in.image[i] * b.N;
        }
        in.weights = weights.data();
        in.weights_row = head.weights;
        in.op_weights = mixture.data();
        in.edge_weights = edges.data();
        in.skip_beta = &skip_beta;
        in.training = true;
        return in;
    }
    std::vector<Floats*> leaves() { return {&s[0], &s[1], &weights, &mixture, &edges}; }
    CellSaved saved() { return {states.data(), planes.data(), stats.data(), pattern.data(), half}; }

    template <class Queue> void forward(const Queue& pool, bool replay) {
        out.assign(nodes, NAN);  // what nobody writes shows
        states.assign(head.preprocess ? images * 2 * head.C * program.in_pixels() : 0, NAN);
        planes.assign(images * head.saved * (half ? 2 : 4), 0xff);  // NaN in either precision
        stats.assign(b.V * 3 * head.norms, 0);
        for (int v = 0; v < b.V; v++)
            for (int c = head.measured; c < head.norms; c++) stats[(v * 3 + 1) * head.norms + c] = 1;
        pattern.resize(images * head.pattern);
        mixed_cell_forward(pool, program, inputs(), replay, saved(), out.data());
    }

    double loss() const {
        double sum = 0;
        for (size_t i = 0; i < nodes; i++) sum += double(out[i]) * grad[i];
        return sum;
    }
};

static double dot(const Floats& a, const Floats& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); i++) sum += double(a[i]) * b[i];
    return sum;
}

// The gradients of everything that has one, in the order of `leaves`.
template <class Queue> static std::vector<Floats> backward(Run& run, const Queue& pool) {
    std::vector<Floats> found;
    for (const Floats* leaf : run.leaves()) found.emplace_back(leaf->size());
    const CellGradients wanted{{found[0].data(), found[1].data()}, found[2].data(), found[3].data(), found[4].data()};
    mixed_cell_backward(pool, run.program, run.inputs(), run.saved(), run.out.data(), run.grad.data(), wanted);
    repeats("output", run.out);
    for (const Floats& one : found) repeats("gradient", one);
    return found;
}

#ifdef SIMULATED

// Keeping float16 changes little.
template <class Queue> static void check_half(Run run, const Floats& want, const Queue& pool) {
    run.half = true;
    run.forward(pool, true);
    Floats off = backward(run, pool)[2];
    for (size_t i = 0; i < off.size(); i++) off[i] -= want[i];
    const double error = std::sqrt(dot(off, off) / dot(want, want));
    if (error > 0 && error < 1e-2) return;
    std::printf("float16 (%s): weights' gradients off by %g\n", way.c_str(), error);
    std::exit(1);
}

#endif

#ifdef SIMULATED

static void check_tables() {
    const JobGroup a{1, 2}, equal{1, 2}, other{1, 3};
    const Stream stream = queue(1);
    const JobGroup* copy = on_device(stream, a);
    if (copy != &a && copy == on_device(stream, equal) && copy != on_device(stream, other) && copy->count == 2) return;
    std::printf("tables: equal ones need one copy, different ones their own\n");
    std::exit(1);
}

#endif

template <class Queue> static void check(const Batch& batch, const Queue& pool) {
    Run run(batch);
    run.forward(pool, false);
    const std::vector<Floats> gradients = backward(run, pool);
#ifdef SIMULATED
    check_half(run, gradients[2], pool);
#endif
    const std::vector<Floats*> leaves = run.leaves();
    std::vector<Floats> middles, directions;
    double want = 0, squares = 0, ends[2];
    for (size_t k = 0; k < leaves.size(); k++) {
        middles.push_back(*leaves[k]);
        directions.push_back(normal(leaves[k]->size()));
        want += dot(gradients[k], directions[k]);
        squares += dot(gradients[k], gradients[k]);
    }
    for (int side = 0; side < 2; side++) {
        for (size_t k = 0; k < leaves.size(); k++)
            for (size_t i = 0; i < leaves[k]->size(); i++)
                (*leaves[k])[i] = middles[k][i] + (side ? -1e-3f : 1e-3f) * directions[k][i];
        run.forward(pool, true);
        ends[side] = run.loss();
    }
    const double dz = (ends[0] - ends[1]) / 2e-3;
    if (std::fabs(dz - want) <= 2e-2 * std::fmax(std::fabs(want), std::sqrt(squares))) return;
    std::printf("all that has a gradient (%s): dz %g, gradient %g\n", way.c_str(), dz, want);
    std::exit(1);
}

#ifdef SIMULATED
const std::vector<int> counts{1};
#else
const std::vector<int> counts{1, 3};  // of threads
#endif

int main() {
#ifdef SIMULATED
    check_tables();
#endif
    return each_way([] {
        if (brief) {
            check({programs::brief_reduction(), 1, 2}, queue(1));
            return check({programs::brief(), 1, 1}, queue(1));
        }
        for (int count : counts) {
            check({programs::normal(), 2, 3}, queue(count));
            check({programs::reduction_with_skips(), 1, 2}, queue(count));
            check({programs::partial_reduction(), 2, 2}, queue(count));
            check({programs::partial(), 2, 2}, queue(count));
            check({programs::many_channels(), 1, 2}, queue(count));
            check({programs::many_channels_reduction(), 1, 1}, queue(count));
            check({programs::few_operations(), 1, 1}, queue(count));
            check({programs::bare_pools(), 2, 2}, queue(count));
            check({programs::large_planes(), 1, 1}, queue(count));
        }
    });
}
