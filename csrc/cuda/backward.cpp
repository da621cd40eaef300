// The backward of a cell: which kernels, over which jobs, in which tiles.
#include <algorithm>
#include <vector>

#include "backward_jobs.h"
#include "kernels.h"
#include "shared_memory.h"
#include "table.h"

namespace sgl_fast {
namespace {

constexpr int IMAGE_GROUPS = 10;  // whose weight gradients are summed apart
constexpr int NODE_PARTS = 8;     // blocks of an image, at most, that sum over the last node's in-edges

static_assert(sizeof(BnFactors) == 4 * sizeof(float), "shared memory counts 4 floats a channel of grad z");
static_assert(CELL_THREADS % WARP == 0 && CELL_THREADS == WMMA * WMMA,
              "a block's threads are whole warps, an element of a matrix each");
static_assert(MOST_CELL_EDGES % WARP == 0, "alpha_beta_grad_kernel has a thread an edge, in whole warps");
static_assert(MOST_TAPS == 5 * 5 && LANE_TAPS == (5 / 2 + 1) * 5,
              "taps of the largest kernel of a warp, rows of one of two lanes");

struct Backward {
    const Stream& stream;
    const Program& program;
    const CellGradients& wanted;
    CellView view;
    GradView grads;

    void run() {
        const int channels = (view.C + NODE_PARTS - 1) / NODE_PARTS;
        LAUNCH(node_sums_kernel, stream, (Grid{images(), blocks_for(view.C, channels)}), CELL_THREADS, 0, view, grads,
               node_job(program, view.nodes - 1), channels);
        for (int j = view.nodes; j >= 2; j--) {
            hidden({j});
            sources({j});
        }
        std::vector<int> inputs_wanted;
        for (int j = 0; j < 2; j++)
            if (view.preprocess ? past_inputs() : wanted.s[j] != nullptr) inputs_wanted.push_back(j);
        if (wanted.weights)
            hidden({0, 1});
        else
            hidden(inputs_wanted);
        sources(inputs_wanted);
        if (view.preprocess) inputs();
        if (wanted.weights) weights();
        need_at_most("edges", program.edges.size(), MOST_CELL_EDGES);
        LAUNCH(alpha_beta_grad_kernel, stream, Grid{unsigned(view.V)}, MOST_CELL_EDGES, 0, view, grads,
               on_device(stream, alpha_beta_job(program)), wanted.op_weights, wanted.edge_weights);
    }

  private:
    unsigned images() const { return static_cast<unsigned>(view.images()); }
    bool past_inputs() const { return wanted.weights || wanted.s[0] || wanted.s[1]; }

    void hidden(const std::vector<int>& states) {
        DgradJobs jobs{};
        int count = 0;
        for (int j : states) {
            const std::vector<ConvGrad> halves = half_conv_grads(program, j);
            need_at_most("separable convolutions out of two states", count + halves.size(), MOST_TARGETS);
            for (size_t i = 0; i < halves.size(); i++, count++) {
                jobs.job[count] = dgrad_job(halves[i]);
                jobs.target[count] =
                    hidden_target(program, halves[i], program.hidden_of(program.states[j], static_cast<int>(i)), count);
                find_most(jobs, jobs.target[count]);
            }
        }
        dgrad(jobs, count);
    }

    // States of one size; a state that is a node comes alone.
    void sources(const std::vector<int>& states) {
        DgradJobs jobs{};
        size_t count = 0;
        for (size_t i = 0; i < states.size(); i++) {
            const int j = states[i];
            const std::vector<ConvGrad> convs = source_conv_grads(program, j);
            need_at_most("convolutions out of two states", count + convs.size(), MOST_DGRAD_JOBS);
            std::transform(convs.begin(), convs.end(), jobs.job + count, dgrad_job);
            jobs.target[i] = state_target(program, j, static_cast<int>(count), static_cast<int>(convs.size()));
            find_most(jobs, jobs.target[i]);
            jobs.state[i] = state_job(program, j);
            count += convs.size();
            if (j >= 2) jobs.node = node_job(program, j - 2);
        }
        dgrad(jobs, static_cast<int>(states.size()));
    }

    void inputs() {
        const std::vector<ConvGrad> convs = input_conv_grads(program);
        DgradJobs jobs{};
        int targets = 0, count = 0, floats = 0;
        unsigned blocks = 0;
        for (int which = 0; which < 2; which++) {
            if (!wanted.s[which]) continue;
            const int first = count;
            for (const ConvGrad& conv_grad : convs)
                if (conv_grad.conv.index == which) jobs.job[count++] = dgrad_job(conv_grad);
            const Target target = jobs.target[targets++] = input_target(program, which, first, count - first);
            const InputTile tile(target);
            blocks = std::max(blocks, unsigned(tile.blocks(target)));
            floats = std::max(floats, tile.floats(view.C));
        }
        if (targets == 0) return;
        need_shared(stream, floats, view.H, view.W);
        LAUNCH(dgrad_kernel_input, stream, (Grid{blocks, images(), unsigned(targets)}), CELL_THREADS,
               floats * sizeof(float), view, grads, on_device(stream, jobs));
    }

    // As many channels a thread as the mixed ones need, if their planes fit.
    void dgrad(DgradJobs& table, int targets) {
        if (targets == 0) return;
        table.targets = Divisor(targets);
        int R = 1;
        for (int t = 0; t < targets; t++) {
            const Target& target = table.target[t];
            if (target.in.groups < target.channels) R = 2;
        }
        if (dgrad_floats(table, targets, R) > SHARED_FLOATS) R = 1;
        const int floats = dgrad_floats(table, targets, R);
        need_shared(stream, floats, table.target[0].H, table.target[0].W);
        unsigned parts = 1, mixed = 1;  // blocks of an image, and those of them that have convolutions
        for (int t = 0; t < targets; t++) {
            const Target& target = table.target[t];
            table.layout[t] = DgradLayout(target, R, DGRAD_FLOATS);
            const int channels = table.layout[t].channels;
            parts = std::max(parts, blocks_for(target.all(view.C), channels));
            mixed = std::max(mixed, blocks_for(target.channels, channels));
        }
        const Grid grid{mixed, images(), targets * ((parts + mixed - 1) / mixed)};
        const size_t bytes = floats * sizeof(float);
        const DgradJobs* jobs = on_device(stream, table);
        if (R == 1) LAUNCH(dgrad_kernel_1, stream, grid, CELL_THREADS, bytes, view, grads, jobs);
        if (R == 2) LAUNCH(dgrad_kernel_2, stream, grid, CELL_THREADS, bytes, view, grads, jobs);
    }

    static int dgrad_floats(const DgradJobs& table, int targets, int R) {
        int floats = 0;
        for (int t = 0; t < targets; t++)
            floats = std::max(floats, DgradLayout(table.target[t], R, DGRAD_FLOATS).floats);
        return floats;
    }

    void weights() {
        std::vector<ConvGrad> convs;
        if (view.preprocess) convs = input_conv_grads(program);
        for (int j = 0; j <= view.nodes; j++)
            for (const auto& some : {source_conv_grads(program, j), half_conv_grads(program, j)}) append(convs, some);
        const int groups = std::min<int>(view.N, IMAGE_GROUPS);
        const long long count = program.head.weights;
        float* shares = stream.room<float>(size_t(view.V) * groups * count);
        for (size_t first = 0; first < convs.size();)
            first += wgrad(convs.data() + first, convs.size() - first, groups, shares);
        if (count)
            LAUNCH(add_shares_kernel, stream, (Grid{blocks_for(count, CELL_THREADS), unsigned(view.V)}), CELL_THREADS,
                   0, groups, count, shares, wanted.weights);
    }

    // As many of the convolutions as a launch has room for; returns how many.
    size_t wgrad(const ConvGrad* convs, size_t count, int groups, float* shares) {
        WgradJobs jobs{};
        int floats = 0;
        unsigned chunks = 0;
        size_t done = 0;
        for (; done < std::min<size_t>(count, MOST_WGRAD_JOBS); done++) {
            WgradJob job{convs[done].conv, convs[done].grad_z, 0, {}, {}, {}, {}, {}, {}, {}, {}, {}};
            const int needed = choose_tile(stream, job);
            need_at_most("chunks of a convolution's channels", job.chunks(), MOST_WGRAD_CHUNKS);
            if (chunks + job.chunks() > MOST_WGRAD_CHUNKS) break;
            for (int i = 0; i < job.chunks(); i++)
                jobs.chunk[chunks++] = {static_cast<short>(done), static_cast<short>(i)};
            jobs.job[done] = job;
            floats = std::max(floats, needed);
        }
        const Grid grid{1, unsigned(view.V * groups), chunks};
        LAUNCH(wgrad_kernel, stream, grid, CELL_THREADS, floats * sizeof(float), view, grads, on_device(stream, jobs),
               Divisor(groups), static_cast<long long>(program.head.weights), shares);
        return done;
    }
};

}  // namespace

void mixed_cell_backward(const Stream& stream, const Program& program, const CellInputs& in, const CellSaved& saved,
                         const float* out, const float* grad, const CellGradients& wanted) {
    const rows::Head& head = program.head;
    Backward backward{stream, program, wanted, view_of(program, in, true, saved, const_cast<float*>(out)), {}};
    const size_t images = size_t(in.V) * in.N, norms = in.V * head.norms, edges = program.edges.size();
    GradView& g = backward.grads;
    const auto room = [&](size_t floats) { return stream.room<float>(floats); };
    g.grad = grad;
    g.nodes = room(images * (head.nodes - 1) * head.C * program.out_pixels());
    g.states = room(head.preprocess ? images * 2 * head.C * program.in_pixels() : 0);
    g.hidden = room(images * program.hidden() * head.M * program.out_pixels());
    g.hidden_count = program.hidden();
    for (int i = 0; i < 2; i++) g.s[i] = wanted.s[i];
    g.mean_dy = room(norms);
    g.mean_dy_xhat = room(norms);
    g.dot = room(norms);
    g.partial_dy = room(images * head.norms);
    g.partial_dy_z = room(images * head.norms);
    g.skip = room(in.V * edges);
    g.bypass = room(in.V * edges);
    g.skip_parts = room(images * edges * head.C);
    g.bypass_parts = room(images * edges * head.C);
    const size_t arrivals = in.V * (head.norms + head.nodes);
    g.arrivals = stream.room<unsigned>(arrivals);
    zero(stream, g.arrivals, arrivals * sizeof(unsigned));
    backward.run();
}

}  // namespace sgl_fast
