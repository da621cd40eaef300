#include "../mixed_cell.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "launch.h"
#include "slope_jobs.h"
#include "table.h"

namespace sgl_fast {
namespace {

constexpr int MOST_OPS = 11;  // of an edge

static_assert(fits_parameters<CellView, GradView, NodeJob>(), "node_slopes_kernel takes the most by value");
static_assert(fits_parameters<CellView, GradView, void*, int, long long, float*>(), "and the others a table by its pointer");
static_assert(sizeof(SlopeFactors) == 4 * sizeof(float), "shared memory counts 4 floats a channel of slopes");
static_assert(CELL_THREADS % WARP == 0 && CELL_THREADS == CORE * CORE, "a block's threads are whole warps, an element of a matrix each");
static_assert(MOST_CELL_EDGES % WARP == 0, "mixture_kernel has a thread an edge, in whole warps");
static_assert(PAD >= 5 / 2 * 2 && PAD % 4 == 0, "a dilated 5x5 kernel stays in the border, and quads stay aligned");
static_assert(MOST_TAPS == 5 * 5 && LANE_TAPS == (5 / 2 + 1) * 5, "taps of the largest kernel of a warp, rows of one of two lanes");
static_assert(7 <= ROW_TAPS, "a thread's sums hold a row of the largest kernel");
static_assert(pad_for(7 / 2 * 2) >= 7 / 2 * 2, "a dilated 7x7 kernel stays in its border");
static_assert(MOST_OPS < MOST_TERMS, "an edge's operations and an auxiliary skip");

constexpr int SHARED_FLOATS = 11 << 10;  // of a block, where one channel at a time needs no more
constexpr int WIDE_FLOATS = 16 << 10;
constexpr int BAND_FLOATS = 11900, WEIGHT_BAND_FLOATS = 12288;  // two blocks a multiprocessor of 96 KB, static memory off
constexpr int MOST_CORES = 4;
constexpr int MOST_SHARED_FLOATS = 24 << 10;
constexpr size_t MOST_IMAGES = 65535;  // blocks along y
constexpr int IMAGE_GROUPS = 4;  // whose weight gradients are summed apart
constexpr int GROUP_JOBS = 4;    // that share planes: more would leave multiprocessors without a block

void need_shared(int floats, int H, int W) {
    if (floats > MOST_SHARED_FLOATS)
        throw std::runtime_error("need images that fit into shared memory, 128 x 128 at most; got " + std::to_string(H) + " x " +
                                 std::to_string(W));
}

// Sets how many channels at a time fit into a block; returns the floats of shared memory that they need.
template <int R> int choose_chunk(ConvJob& job) {
    job.chunk = std::min(job.ins, 16);
    while (job.chunk > 1 && conv_floats(job, R) > SHARED_FLOATS) job.chunk--;
    need_shared(conv_floats(job, R), job.in_H, job.in_W);
    return conv_floats(job, R);
}

// The same for tensor cores, whose blocks have more.
int choose_wide_chunk(ConvJob& job) {
    job.chunk = CORE;
    while (job.chunk > 1 && wide_floats(job) > WIDE_FLOATS) job.chunk /= 2;
    need_shared(wide_floats(job), job.in_H, job.in_W);
    return wide_floats(job);
}

// Rows of `height` and sixteens of `channels` at a time, as many as fit; false where one of each does not.
template <class Fits> bool choose_band(int height, int channels, int& band, int& cores, const Fits& fits) {
    band = height;
    cores = MOST_CORES;
    while (cores > 1 && (channels % (cores * CORE) || !fits())) cores /= 2;
    while (band > 1 && !fits()) band--;
    const int bands = (height + band - 1) / band;
    band = (height + bands - 1) / bands;
    return fits();
}

// Sets how a target is cut for tensor cores, if it can be.
bool choose_band(Target& target, int outs) {
    return choose_band(target.out_H, target.channels, target.band, target.cores, [&] {
        const BandShape shape(target);
        return shape.in_registers() && shape.floats(outs) <= BAND_FLOATS;
    });
}

bool choose_band(WeightJob& job) {
    int cores;
    return choose_band(job.conv.out_H, job.conv.ins, job.band, cores, [&] {
        job.conv.chunk = cores * CORE;
        return wide_slots(job.conv) <= CELL_WARPS && wide_weight_floats(job) <= WEIGHT_BAND_FLOATS;
    });
}

// Sets a tile's width and how many channels at a time fit beside it, such that the slopes are read the fewest times.
int choose_tile(WeightJob& job) {
    if (wide(job.conv) && job.conv.taps() <= MOST_TAPS && choose_band(job)) return wide_weight_floats(job);
    const Tiling whole(job.conv.out_H, job.conv.out_W);
    WeightJob best = job;
    best.conv.chunk = 0;
    for (job.lanes = whole.lanes; job.lanes >= 16; job.lanes /= 2) {
        job.conv.chunk = std::min(job.conv.ins, 16);
        while (job.conv.chunk > 1 && weight_floats(job) > SHARED_FLOATS) job.conv.chunk--;
        const bool fits = weight_floats(job) <= SHARED_FLOATS || job.lanes == 16;
        if (fits && (best.conv.chunk == 0 || job.chunks() < best.chunks())) best = job;
    }
    job = best;
    need_shared(weight_floats(job), job.conv.in_H, job.conv.in_W);
    return weight_floats(job);
}

// Jobs in groups that read the same planes, if those fit into a block whole; 1x1 convolutions read for themselves.
std::vector<JobGroup> groups_of(const ConvJob* jobs, int count, int most) {
    std::vector<JobGroup> groups;
    for (int i = 0; i < count; i++) {
        const ConvJob& one = jobs[i];
        const ConvJob* before = groups.empty() ? nullptr : jobs + groups.back().first;
        const bool same = before && before->pad() == one.pad() && before->from == one.from && before->index == one.index && one.kernel > 1 &&
                          before->kernel > 1 && one.chunk == one.ins && before->chunk == before->ins;
        if (same && groups.back().count < most)
            groups.back().count++;
        else
            groups.push_back({i, 1});
    }
    return groups;
}

template <class T> void append(std::vector<T>& to, const std::vector<T>& more) { to.insert(to.end(), more.begin(), more.end()); }

struct Forward {
    const Stream& stream;
    const Program& program;
    CellView view;

    void run() {
        if (!view.training)
            LAUNCH(evaluation_kernel, static_cast<unsigned>(view.V), CELL_THREADS, 0, stream, view);
        if (view.preprocess) convolve(input_jobs(program), {}, 0);
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
            append(first, source_jobs(program, j));
            append(second, half_jobs(program, j));
            add_pool_job(pools, pool_count, program, j);
        }
        convolve(std::move(first), pools, pool_count);
        convolve(std::move(second), {}, 0);
    }

    void combine(int node) {
        const unsigned parts = blocks_for(int64_t(view.C) * Tiling(view.out_H, view.out_W).quads, CELL_THREADS);
        const NodeJob job = node_job(program, node);
        LAUNCH(combine_kernel, dim3(images(), parts), CELL_THREADS, 0, stream, view, job);
    }

    // All jobs have outputs of one size.
    void convolve(std::vector<ConvJob> jobs, const PoolJobs& pools, int pool_count) {
        if (!jobs.empty() && std::all_of(jobs.begin(), jobs.end(), wide)) return convolve_wide(jobs, pools, pool_count);
        int outs = 0;
        for (const ConvJob& job : jobs) {
            const int groups = Tiling(job.out_H, job.out_W).groups;
            outs = std::max(outs, (job.outs + groups - 1) / groups);
        }
        if (outs <= 1) return convolve<1>(jobs, pools, pool_count);
        if (outs <= 2) return convolve<2>(jobs, pools, pool_count);
        if (outs <= 4) return convolve<4>(jobs, pools, pool_count);
        convolve<8>(jobs, pools, pool_count);
    }

    template <int R> void convolve(std::vector<ConvJob>& jobs, const PoolJobs& pools, int pool_count) {
        int room = pool_count ? pool_floats() : 0;
        for (ConvJob& job : jobs) room = std::max(room, choose_chunk<R>(job));
        std::stable_partition(jobs.begin(), jobs.end(), [](const ConvJob& job) { return job.kernel > 1; });
        allow_shared(convolve_kernel<R>, room * sizeof(float));
        each_table(jobs, GROUP_JOBS, room, pools, pool_count, [&](const ConvJobs& table, int pools_here) {
            LAUNCH(convolve_kernel<R>, dim3(table.groups + pools_here, images()), CELL_THREADS, room * sizeof(float), stream, view,
                   on_device(table));
        });
    }

    void convolve_wide(std::vector<ConvJob>& jobs, const PoolJobs& pools, int pool_count) {
        int room = pool_count ? pool_floats() : 0;
        for (ConvJob& job : jobs) room = std::max(room, choose_wide_chunk(job));
        allow_shared(wide_kernel, room * sizeof(float));
        each_table(jobs, 1, room, pools, pool_count, [&](const ConvJobs& table, int pools_here) {
            LAUNCH(wide_kernel, dim3(table.groups + pools_here, images()), CELL_THREADS, room * sizeof(float), stream, view,
                   on_device(table));
        });
    }

    // Calls launch(table, pools) for as many jobs at a time as a table holds; the pools come with the first.
    template <class Launch>
    static void each_table(const std::vector<ConvJob>& jobs, int most, int room, const PoolJobs& pools, int pool_count,
                           const Launch& launch) {
        ConvJobs table{};
        table.room = room;
        table.pools = pools;
        for (size_t first = 0; first < jobs.size() || pool_count; first += MOST_JOBS) {
            const int count = static_cast<int>(std::min<size_t>(MOST_JOBS, jobs.size() - first));
            std::copy_n(jobs.begin() + first, count, table.job);
            const std::vector<JobGroup> groups = groups_of(table.job, count, most);
            std::copy(groups.begin(), groups.end(), table.group);
            table.groups = static_cast<int>(groups.size());
            launch(table, pool_count);
            pool_count = 0;
        }
    }

    // Of shared memory: for one mixed channel of a state at least.
    int pool_floats() const {
        const int one = PaddedPlane(view.H / view.out_H, view.out_H, view.out_W).floats;
        need_shared(one, view.H, view.W);
        return std::max(one, std::min(view.M * one, SHARED_FLOATS));
    }
};

struct Backward {
    const Stream& stream;
    const Program& program;
    const CellGradients& wanted;
    CellView view;
    GradView grads;

    void run() {
        const NodeJob last = node_job(program, view.nodes - 1);
        LAUNCH(node_slopes_kernel, images(), CELL_THREADS, 0, stream, view, grads, last);
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
        mixture();
    }

  private:
    unsigned images() const { return static_cast<unsigned>(view.V * view.N); }
    bool past_inputs() const { return wanted.weights || wanted.s[0] || wanted.s[1]; }

    void hidden(const std::vector<int>& states) {
        SlopeJobs jobs{};
        int count = 0;
        for (int j : states) {
            const std::vector<Undo> undos = half_undos(program, j);
            need_at_most("separable convolutions out of two states", count + undos.size(), MOST_TARGETS);
            for (size_t i = 0; i < undos.size(); i++, count++) {
                jobs.job[count] = slope_job(undos[i]);
                jobs.target[count] = hidden_target(program, undos[i], program.hidden_of(program.states[j], static_cast<int>(i)), count);
            }
        }
        undo(jobs, count, view.M, view.M);
    }

    // States of one size; a state that is a node comes alone.
    void sources(const std::vector<int>& states) {
        SlopeJobs jobs{};
        size_t count = 0;
        for (size_t i = 0; i < states.size(); i++) {
            const int j = states[i];
            const std::vector<Undo> undos = source_undos(program, j);
            need_at_most("convolutions out of two states", count + undos.size(), MOST_SLOPE_JOBS);
            std::transform(undos.begin(), undos.end(), jobs.job + count, slope_job);
            jobs.target[i] = state_target(program, j, static_cast<int>(count), static_cast<int>(undos.size()));
            jobs.state[i] = state_job(program, j);
            count += undos.size();
            if (j >= 2) jobs.node = node_job(program, j - 2);
        }
        undo(jobs, static_cast<int>(states.size()), view.C, view.M);
    }

    void inputs() {
        const std::vector<Undo> undos = input_undos(program);
        SlopeJobs jobs{};
        int targets = 0, count = 0, channels = 0;
        for (int which = 0; which < 2; which++) {
            if (!wanted.s[which]) continue;
            const int first = count;
            for (const Undo& undo : undos)
                if (undo.conv.index == which) jobs.job[count++] = slope_job(undo);
            jobs.target[targets++] = input_target(program, which, first, count - first);
            channels = std::max(channels, program.input_convs(which)[0].ins);
        }
        undo(jobs, targets, channels, view.C);
    }

    void mixture() {
        need_at_most("edges", program.edges.size(), MOST_CELL_EDGES);
        LAUNCH(mixture_kernel, static_cast<unsigned>(view.V), MOST_CELL_EDGES, 0, stream, view, grads, on_device(mixture_job(program)),
               wanted.op_weights, wanted.edge_weights);
    }

    // channels, outs: the most of a target, of a slope.
    void undo(SlopeJobs& jobs, int targets, int channels, int outs) {
        if (targets == 0) return;
        if (all_wide(jobs, targets, outs)) return undo_wide(jobs, targets, channels, outs);
        if (shared_of(jobs, targets, outs, 4) <= SHARED_FLOATS) return undo<4>(jobs, targets, channels, outs);
        if (shared_of(jobs, targets, outs, 2) <= SHARED_FLOATS) return undo<2>(jobs, targets, channels, outs);
        undo<1>(jobs, targets, channels, outs);
    }

    static bool all_wide(SlopeJobs& jobs, int targets, int outs) {
        return std::all_of(jobs.target, jobs.target + targets, [&](Target& target) {
            const SlopeJob* first = jobs.job + target.first_job;
            return target.jobs > 0 && std::all_of(first, first + target.jobs, [&](const SlopeJob& job) { return undone_wide(job, target); }) &&
                   choose_band(target, outs);
        });
    }

    void undo_wide(const SlopeJobs& jobs, int targets, int channels, int outs) {
        int floats = 0;
        unsigned parts = 1;
        for (int t = 0; t < targets; t++) {
            const Target& target = jobs.target[t];
            const BandShape shape(target);
            floats = std::max({floats, shape.floats(outs), target.plane().floats});
            parts = std::max(parts, blocks_for(channels, shape.channels));
        }
        allow_shared(wide_gradient_kernel, floats * sizeof(float));
        LAUNCH(wide_gradient_kernel, dim3(parts, images(), targets), CELL_THREADS, floats * sizeof(float), stream, view, grads,
               on_device(jobs), outs, floats);
    }

    static int shared_of(const SlopeJobs& jobs, int targets, int outs, int R) {
        int floats = 0;
        for (int t = 0; t < targets; t++) floats = std::max(floats, slope_floats(jobs.target[t], outs, R));
        return floats;
    }

    template <int R> void undo(const SlopeJobs& jobs, int targets, int channels, int outs) {
        const int floats = shared_of(jobs, targets, outs, R);
        need_shared(floats, jobs.target[0].H, jobs.target[0].W);
        allow_shared(gradient_kernel<R>, floats * sizeof(float));
        unsigned parts = 1;
        for (int t = 0; t < targets; t++)
            parts = std::max(parts, blocks_for(channels, Tiling(jobs.target[t].H, jobs.target[t].W).groups * R));
        LAUNCH(gradient_kernel<R>, dim3(parts, images(), targets), CELL_THREADS, floats * sizeof(float), stream, view, grads,
               on_device(jobs));
    }

    void weights() {
        std::vector<Undo> undos;
        if (view.preprocess) undos = input_undos(program);
        for (int j = 0; j <= view.nodes; j++)
            for (const auto& some : {source_undos(program, j), half_undos(program, j)}) append(undos, some);
        const int groups = std::min(view.N, IMAGE_GROUPS);
        float* shares = stream.room<float>(size_t(view.V) * groups * program.head.weights);
        for (size_t first = 0; first < undos.size(); first += MOST_WEIGHT_JOBS)
            weights(undos.data() + first, std::min<size_t>(MOST_WEIGHT_JOBS, undos.size() - first), groups, shares);
        if (program.head.weights)
            LAUNCH(add_shares_kernel, dim3(blocks_for(program.head.weights, CELL_THREADS), view.V), CELL_THREADS, 0, stream, groups,
                   static_cast<long long>(program.head.weights), shares, wanted.weights);
    }

    void weights(const Undo* undos, size_t count, int groups, float* shares) {
        WeightJobs jobs{};
        int floats = 0, chunks = 0;
        for (size_t i = 0; i < count; i++) {
            jobs.job[i] = {undos[i].conv, undos[i].slope, 0, 0};
            floats = std::max(floats, choose_tile(jobs.job[i]));
            chunks = std::max(chunks, jobs.job[i].chunks());
        }
        allow_shared(weight_gradient_kernel, floats * sizeof(float));
        LAUNCH(weight_gradient_kernel, dim3(chunks, view.V * groups, static_cast<unsigned>(count)), CELL_THREADS,
               floats * sizeof(float), stream, view, grads, on_device(jobs), groups,
               static_cast<long long>(program.head.weights), shares);
    }
};

}  // namespace

void mixed_cell_forward(const Stream& stream, const Program& program, const CellInputs& in, bool replay, const CellSaved& saved,
                        float* out) {
    need_at_most("operations an edge", program.head.ops, MOST_OPS);
    need_at_most("images of all learners", size_t(in.V) * in.N, MOST_IMAGES);
    const rows::Head& head = program.head;
    Forward forward{stream, program, view_of(program, in, replay, saved, out)};
    const size_t norms = size_t(in.V) * head.norms;
    forward.view.partial_mean = stream.room<float>(in.N * norms);
    forward.view.partial_deviations = stream.room<float>(in.N * norms);
    forward.view.tickets = stream.room<unsigned>(norms);
    zero(stream, forward.view.tickets, norms * sizeof(unsigned));
    forward.run();
}

void mixed_cell_backward(const Stream& stream, const Program& program, const CellInputs& in, const CellSaved& saved, const float* out,
                         const float* grad, const CellGradients& wanted) {
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
    g.along_one = room(norms);
    g.along_z = room(norms);
    g.dot = room(norms);
    g.partial_one = room(images * head.norms);
    g.partial_z = room(images * head.norms);
    g.skip = room(images * edges);
    g.bypass = room(images * edges);
    const size_t own = in.V * (head.norms + head.nodes), tickets = own + head.nodes * images;
    g.tickets = stream.room<unsigned>(tickets);
    g.image_tickets = g.tickets + own;
    zero(stream, g.tickets, tickets * sizeof(unsigned));
    backward.run();
}

}  // namespace sgl_fast
