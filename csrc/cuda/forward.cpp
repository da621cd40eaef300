// The forward of a cell: which kernels, over which jobs, in which tiles.
#include <algorithm>
#include <vector>

#include "forward_jobs.h"
#include "kernels.h"
#include "shared_memory.h"
#include "table.h"

namespace sgl_fast {
namespace {

constexpr int MOST_OPS = 11;           // of an edge
constexpr size_t MOST_IMAGES = 65535;  // blocks along y

static_assert(MOST_OPS < MOST_TERMS, "an edge's operations and an auxiliary skip");
static_assert(PAD >= 5 / 2 * 2 && PAD % 4 == 0, "a dilated 5x5 kernel stays in the border, and quads stay aligned");
static_assert(pad_for(7 / 2 * 2) >= 7 / 2 * 2, "a dilated 7x7 kernel stays in its border");

// A group's jobs and one more that reads the same planes; or with planes of its own, if all are worked at once.
bool joins(const ConvJob* jobs, JobGroup& group, ConvJob& job, int R) {
    const ConvJob& first = jobs[group.first];
    const bool alike = (first.kernel > 1) == (job.kernel > 1) && first.pad() == job.pad() && first.from == job.from &&
                       first.ins == job.ins && first.outs == job.outs && first.stride == job.stride &&
                       first.chunk == job.chunk;
    if (!alike || group.count == GROUP_JOBS) return false;
    const bool own = job.kernel > 1 && (first.index != job.index || group.layout.planes);
    const int count = group.count + 1, taps = group.taps + job.taps;
    const ConvLayout layout(first, count, own, taps, R);
    const bool whole = job.chunk == job.ins, at_once = layout.batch == count;
    if (layout.floats > CONV_FLOATS || !(own ? whole && at_once : whole || at_once)) return false;
    if (group.count > 1 && own && !group.layout.planes) return false;
    job.first_tap = group.taps;
    group = {group.first, count, taps, layout};
    return true;
}

std::vector<JobGroup> groups_of(ConvJob* jobs, int count, int R) {
    std::vector<JobGroup> groups;
    for (int i = 0; i < count; i++)
        if (groups.empty() || !joins(jobs, groups.back(), jobs[i], R))
            groups.push_back({i, 1, jobs[i].taps, ConvLayout(jobs[i], 1, false, jobs[i].taps, R)});
    return groups;
}

struct Forward {
    const Stream& stream;
    const Program& program;
    CellView view;

    void run() {
        if (!view.training) LAUNCH(evaluation_kernel, stream, Grid{unsigned(view.V)}, CELL_THREADS, 0, view);
        if (view.preprocess) convolve_inputs(input_jobs(program));
        sources({0, 1});
        for (int node = 0; node < view.nodes; node++) {
            combine(node);
            if (node + 1 < view.nodes) sources({node + 2});
        }
    }

    // Of an image, which have statistics of their own.
    int most_tiles() const {
        int most = 1;
        if (view.preprocess)
            for (const ConvJob& job : input_jobs(program)) most = std::max<int>(most, ConvInputTile(job).tiles);
        return most;
    }

  private:
    unsigned images() const { return static_cast<unsigned>(view.images()); }

    void sources(const std::vector<int>& states) {
        std::vector<ConvJob> first, second;
        PoolJobs pools{};
        int pool_count = 0;
        for (int j : states) {
            append(first, source_jobs(program, j));
            append(second, half_jobs(program, j));
            add_pool_job(pools, pool_count, program, j);
        }
        convolve(std::move(first), pools, pool_count);
        convolve(std::move(second), {}, 0);
    }

    void combine(int node) {
        const unsigned parts = blocks_for(int64_t(view.C) * view.tiling.quads, CELL_THREADS);
        LAUNCH(combine_kernel, stream, Grid{images(), parts}, CELL_THREADS, 0, view, node_job(program, node));
    }

    void convolve_inputs(const std::vector<ConvJob>& jobs) {
        ConvInputJobs table{};
        int blocks = 0, floats = 0;
        need_at_most("convolutions of inputs", jobs.size(), MOST_INPUT_JOBS);
        for (size_t i = 0; i < jobs.size(); i++) {
            const ConvInputTile tile(jobs[i]);
            table.job[i] = {jobs[i], tile};
            blocks = std::max(blocks, tile.blocks(jobs[i]));
            floats = std::max(floats, tile.floats());
        }
        LAUNCH(convolve_kernel_input, stream, Grid{unsigned(blocks), images(), unsigned(jobs.size())}, CELL_THREADS,
               floats * sizeof(float), view, on_device(stream, table));
    }

    // All jobs have outputs of one size.
    void convolve(std::vector<ConvJob> jobs, const PoolJobs& pools, int pool_count) {
        int R = 4, room = pool_count ? pool_floats() : 0;
        for (const ConvJob& job : jobs)
            if (job.outs > 4 * Tiling(job.out_H, job.out_W).groups) R = 8;
        for (ConvJob& job : jobs) room = std::max(room, choose_chunk(stream, job, R));
        std::stable_partition(jobs.begin(), jobs.end(), [](const ConvJob& job) { return job.kernel > 1; });
        ConvJobs table{};
        table.pools = pools;
        for (size_t first = 0; first < jobs.size() || pool_count; first += MOST_JOBS) {
            const int count = static_cast<int>(std::min<size_t>(MOST_JOBS, jobs.size() - first));
            std::copy_n(jobs.begin() + first, count, table.job);
            const std::vector<JobGroup> groups = groups_of(table.job, count, R);
            std::copy(groups.begin(), groups.end(), table.group);
            table.groups = static_cast<int>(groups.size());
            table.room = room;
            for (const JobGroup& group : groups) table.room = std::max(table.room, group.layout.floats);
            for (PoolJob& pool : table.pools.job) pool.chunk = pool_channels(pool, table.room);
            convolve(R, table, pool_count);
            pool_count = 0;
        }
    }

    void convolve(int R, const ConvJobs& table, int pool_count) {
        const Grid grid{unsigned(table.groups + pool_count), images()};
        const size_t bytes = table.room * sizeof(float);
        const ConvJobs* jobs = on_device(stream, table);
        if (R == 4) LAUNCH(convolve_kernel_4, stream, grid, CELL_THREADS, bytes, view, jobs);
        if (R == 8) LAUNCH(convolve_kernel_8, stream, grid, CELL_THREADS, bytes, view, jobs);
    }

    // Mixed channels of a state whose planes are in so much shared memory at a time.
    int pool_channels(const PoolJob& pool, int room) const {
        const PaddedPlane plane(pool.stride, view.out_H, view.out_W);
        const int planes = room - pool_moments(view.M, view.tiling);
        return std::min<int>(view.M, (planes - plane.floats) / plane.next() + 1);
    }

    // Of shared memory: for one mixed channel of a state at least.
    int pool_floats() const {
        const PaddedPlane plane(view.H / view.out_H, view.out_H, view.out_W);
        const int moments = pool_moments(view.M, view.tiling);
        need_shared(stream, plane.floats + moments, view.H, view.W);
        return moments + std::max(plane.floats, std::min(plane.floats_of(view.M), CONV_FLOATS - moments));
    }
};

}  // namespace

void mixed_cell_forward(const Stream& stream, const Program& program, const CellInputs& in, bool replay,
                        const CellSaved& saved, float* out) {
    need_at_most("operations an edge", program.head.ops, MOST_OPS);
    need_at_most("images of all learners", size_t(in.V) * in.N, MOST_IMAGES);
    Forward forward{stream, program, view_of(program, in, replay, saved, out)};
    const size_t norms = size_t(in.V) * program.head.norms, partial = in.N * norms * forward.most_tiles();
    forward.view.partial_mean = stream.room<float>(partial);
    forward.view.partial_deviations = stream.room<float>(partial);
    forward.view.arrivals = stream.room<unsigned>(norms);
    zero(stream, forward.view.arrivals, norms * sizeof(unsigned));
    forward.run();
}

}  // namespace sgl_fast
