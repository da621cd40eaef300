#include "mixed_cell.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "cell_jobs.h"

namespace sgl_fast {
namespace {

constexpr int SHARED_FLOATS = 11 << 10;  // of a block, where one channel at a time needs no more
constexpr int MOST_SHARED_FLOATS = 24 << 10;
constexpr int MOST_OPS = 8;

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
        if (floats > MOST_SHARED_FLOATS)
            throw std::runtime_error("need images that fit into shared memory, 128 x 128 at most; got " +
                                     std::to_string(jobs[0].in_H) + " x " + std::to_string(jobs[0].in_W));
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

void mixed_cell_backward(const Stream&, const Plan&, const CellInputs&, const CellSaved&, const float*, const float*,
                         const CellGradients&) {
    throw std::runtime_error("backward is missing");
}

}  // namespace sgl_fast
