#include "mixed_cell.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "slope_jobs.h"

namespace sgl_fast {
namespace {

constexpr int SHARED_FLOATS = 11 << 10;  // of a block, where one channel at a time needs no more
constexpr int MOST_SHARED_FLOATS = 24 << 10;
constexpr int MOST_OPS = 8;
constexpr int IMAGE_GROUPS = 4;  // whose weight gradients are summed apart

void need_shared(int floats, int H, int W) {
    if (floats > MOST_SHARED_FLOATS)
        throw std::runtime_error("need images that fit into shared memory, 128 x 128 at most; got " + std::to_string(H) + " x " +
                                 std::to_string(W));
}

struct Forward {
    const Stream& stream;
    const Plan& plan;
    CellView view;

    void run() {
        if (!view.training)
            LAUNCH(evaluation_kernel, static_cast<unsigned>(view.V), CELL_THREADS, 0, stream, view);
        if (view.preprocess) convolve(preprocess_jobs(plan));
        sources({0, 1});
        for (int node = 0; node < view.nodes; node++) {
            combine(node);
            if (node + 1 < view.nodes) sources({node + 2});
        }
    }

  private:
    unsigned images() const { return static_cast<unsigned>(view.V * view.N); }

    void sources(const std::vector<int>& states) {
        std::vector<ConvJob> first, second;
        PoolJobs pools{};
        int pool_count = 0;
        for (int j : states) {
            add_source_jobs(first, plan, j);
            add_middle_jobs(second, plan, j);
            add_pool_job(pools, pool_count, plan, j);
        }
        convolve(std::move(first));
        if (pool_count) LAUNCH(pool_kernel, dim3(images(), pool_count), CELL_THREADS, 0, stream, view, pools);
        convolve(std::move(second));
    }

    void combine(int node) {
        const unsigned parts = blocks_for(int64_t(view.C) * plan.out_pixels(), 4 * CELL_THREADS);
        LAUNCH(combine_kernel, dim3(images(), parts), CELL_THREADS, 0, stream, view, node_job(plan, node));
    }

    // All jobs have outputs of one size.
    void convolve(std::vector<ConvJob> jobs) {
        if (jobs.empty()) return;
        const int groups = Tiling(jobs[0].out_H, jobs[0].out_W).groups;
        int outs = 0;
        for (const ConvJob& job : jobs) outs = std::max(outs, (job.outs + groups - 1) / groups);
        if (outs <= 1) return convolve<1>(jobs);
        if (outs <= 2) return convolve<2>(jobs);
        if (outs <= 4) return convolve<4>(jobs);
        if (outs <= 8) return convolve<8>(jobs);
        convolve<16>(jobs);
    }

    template <int R> void convolve(std::vector<ConvJob>& jobs) {
        int floats = 0;
        for (ConvJob& job : jobs) {
            job.chunk = std::min(job.ins, 16);
            while (job.chunk > 1 && conv_floats(job, R) > SHARED_FLOATS) job.chunk--;
            floats = std::max(floats, conv_floats(job, R));
        }
        need_shared(floats, jobs[0].in_H, jobs[0].in_W);
        allow_shared(convolve_kernel<R>, floats * sizeof(float));
        for (size_t first = 0; first < jobs.size(); first += MOST_JOBS) {
            const size_t count = std::min<size_t>(MOST_JOBS, jobs.size() - first);
            ConvJobs table;
            std::copy_n(jobs.begin() + first, count, table.job);
            LAUNCH(convolve_kernel<R>, dim3(images(), static_cast<unsigned>(count)), CELL_THREADS, floats * sizeof(float),
                   stream, view, table);
        }
    }
};

struct Backward {
    const Stream& stream;
    const Plan& plan;
    const CellGradients& wanted;
    CellView view;
    GradView grads;

    void run() {
        node_slopes(view.nodes - 1);
        for (int j = view.nodes; j >= 0; j--) {
            const bool state = j >= 2 || (view.preprocess ? past_inputs() : wanted.s[j] != nullptr);
            if (state || wanted.weights) middles(j);
            if (state) source(j);
            if (j >= 2) node_slopes(j - 2);
        }
        if (view.preprocess) inputs();
        if (wanted.weights) weights();
        for (int node = 0; node < view.nodes; node++)
            LAUNCH(mixture_kernel, static_cast<unsigned>(view.V), CELL_THREADS, 0, stream, view, grads, node_job(plan, node),
                   wanted.op_weights, wanted.edge_weights);
    }

  private:
    unsigned images() const { return static_cast<unsigned>(view.V * view.N); }
    bool past_inputs() const { return wanted.weights || wanted.s[0] || wanted.s[1]; }

    void node_slopes(int node) {
        LAUNCH(node_slopes_kernel, images(), CELL_THREADS, 0, stream, view, grads, node_job(plan, node));
    }

    void middles(int j) {
        const std::vector<Undo> undos = middle_undos(plan, j);
        if (undos.empty()) return;
        need_at_most("separable convolutions out of a state", undos.size(), MOST_TARGETS);
        SlopeJobs jobs{};
        int count = 0;
        for (int index : plan.states[j].out_edges)
            for (const Mixed& m : plan.edges[index].ops) {
                if (!m.separable()) continue;
                jobs.job[count] = slope_job(undos[count]);
                jobs.target[count] = middle_target(plan, j, m, count);
                count++;
            }
        undo(jobs, count, view.M, view.M);
    }

    void source(int j) {
        const std::vector<Undo> undos = source_undos(plan, j);
        need_at_most("convolutions out of a state", undos.size(), MOST_SLOPE_JOBS);
        SlopeJobs jobs{};
        std::transform(undos.begin(), undos.end(), jobs.job, slope_job);
        jobs.target[0] = state_target(plan, j, static_cast<int>(undos.size()));
        jobs.state = state_job(plan, j);
        undo(jobs, 1, view.C, view.M);
    }

    void inputs() {
        const std::vector<Undo> undos = preprocess_undos(plan);
        for (int which = 0; which < 2; which++) {
            if (!wanted.s[which]) continue;
            SlopeJobs jobs{};
            int count = 0;
            for (const Undo& undo : undos)
                if (undo.conv.index == which) jobs.job[count++] = slope_job(undo);
            jobs.target[0] = input_target(plan, which, 0, count);
            undo(jobs, 1, plan.preprocess[which].channels, view.C);
        }
    }

    // channels: of the targets, all of one size; outs: most channels of a slope.
    void undo(const SlopeJobs& jobs, int targets, int channels, int outs) {
        const Target& target = jobs.target[0];
        if (slope_floats(target, outs, 4) <= SHARED_FLOATS) return undo<4>(jobs, targets, channels, outs);
        if (slope_floats(target, outs, 2) <= SHARED_FLOATS) return undo<2>(jobs, targets, channels, outs);
        undo<1>(jobs, targets, channels, outs);
    }

    template <int R> void undo(const SlopeJobs& jobs, int targets, int channels, int outs) {
        const Target& target = jobs.target[0];
        const int floats = slope_floats(target, outs, R);
        need_shared(floats, target.H, target.W);
        allow_shared(gradient_kernel<R>, floats * sizeof(float));
        const unsigned parts = blocks_for(channels, Tiling(target.H, target.W).groups * R);
        LAUNCH(gradient_kernel<R>, dim3(images(), targets, parts), CELL_THREADS, floats * sizeof(float), stream, view, grads, jobs);
    }

    void weights() {
        std::vector<Undo> undos;
        if (view.preprocess) undos = preprocess_undos(plan);
        for (int j = 0; j <= view.nodes; j++)
            for (const auto& some : {source_undos(plan, j), middle_undos(plan, j)}) undos.insert(undos.end(), some.begin(), some.end());
        const int groups = std::min(view.N, IMAGE_GROUPS);
        const size_t bytes = size_t(view.V) * groups * plan.weights * sizeof(float);
        float* shares = stream.room<float>(bytes / sizeof(float));
        zero(stream, shares, bytes);
        for (size_t first = 0; first < undos.size(); first += MOST_WEIGHT_JOBS)
            weights(undos.data() + first, std::min<size_t>(MOST_WEIGHT_JOBS, undos.size() - first), groups, shares);
        if (plan.weights)
            LAUNCH(add_shares_kernel, dim3(blocks_for(plan.weights, CELL_THREADS), view.V), CELL_THREADS, 0, stream, groups,
                   static_cast<long long>(plan.weights), shares, wanted.weights);
    }

    void weights(const Undo* undos, size_t count, int groups, float* shares) {
        WeightJobs jobs;
        int floats = 0;
        for (size_t i = 0; i < count; i++) {
            ConvJob& conv = (jobs.job[i] = {undos[i].conv, undos[i].slope}).conv;
            conv.chunk = std::min(conv.ins, 16);
            while (conv.chunk > 1 && weight_floats(conv) > SHARED_FLOATS) conv.chunk--;
            floats = std::max(floats, weight_floats(conv));
            need_shared(floats, conv.in_H, conv.in_W);
        }
        allow_shared(weight_gradient_kernel, floats * sizeof(float));
        LAUNCH(weight_gradient_kernel, dim3(view.V * groups, static_cast<unsigned>(count)), CELL_THREADS, floats * sizeof(float),
               stream, view, grads, jobs, groups, static_cast<long long>(plan.weights), shares);
    }
};

}  // namespace

void mixed_cell_forward(const Stream& stream, const Plan& plan, const CellInputs& in, bool replay, const CellSaved& saved,
                        float* out) {
    need_at_most("operations an edge", plan.cell.ops_per_edge, MOST_OPS);
    Forward forward{stream, plan, view_of(plan, in, replay, saved, out)};
    const size_t norms = size_t(in.V) * plan.norms;
    forward.view.partial_mean = stream.room<float>(in.N * norms);
    forward.view.partial_deviations = stream.room<float>(in.N * norms);
    forward.view.tickets = stream.room<unsigned>(norms);
    zero(stream, forward.view.tickets, norms * sizeof(unsigned));
    forward.run();
}

void mixed_cell_backward(const Stream& stream, const Plan& plan, const CellInputs& in, const CellSaved& saved, const float* out,
                         const float* grad, const CellGradients& wanted) {
    Backward backward{stream, plan, wanted, view_of(plan, in, true, saved, const_cast<float*>(out)), {}};
    const size_t images = size_t(in.V) * in.N, norms = in.V * plan.norms, edges = plan.edges.size();
    const int middles = middles_before(plan, plan.states.size());
    GradView& g = backward.grads;
    const auto room = [&](size_t floats) { return stream.room<float>(floats); };
    g.grad = grad;
    g.nodes = room(images * (plan.cell.nodes - 1) * plan.cell.channels * plan.out_pixels());
    g.states = room(plan.cell.preprocess ? images * 2 * plan.cell.channels * plan.in_pixels() : 0);
    g.middles = room(images * middles * plan.mixed_channels * plan.out_pixels());
    g.middle_count = middles;
    for (int i = 0; i < 2; i++) g.s[i] = wanted.s[i];
    g.along_one = room(norms);
    g.along_z = room(norms);
    g.dot = room(norms);
    g.partial_one = room(images * plan.norms);
    g.partial_z = room(images * plan.norms);
    g.skip = room(images * edges);
    g.bypass = room(images * edges);
    const size_t tickets = in.V * (plan.norms + plan.cell.nodes);
    g.tickets = stream.room<unsigned>(tickets);
    zero(stream, g.tickets, tickets * sizeof(unsigned));
    backward.run();
}

}  // namespace sgl_fast
