// The work of a cell's kernels, written from their jobs: <kernel>_work of a launch.
#pragma once

#include <algorithm>
#include <functional>
#include <set>
#include <tuple>
#include <utility>

#include "gradient.cuh"
#include "weight_gradient.cuh"
#include "wide.cuh"
#include "wide_gradient.cuh"
#include "work.h"

namespace sgl_fast {

// Floats that a saved number takes.
inline double kept(const CellView& cell) { return cell.planes.half ? 0.5 : 1; }

inline double ceiling(double a, double b) { return static_cast<double>(static_cast<long long>((a + b - 1) / b)); }

// Planes that several jobs of a launch read: true for the first.
struct Sources {
    std::set<std::tuple<int, int, int>> seen;
    bool first(int kind, int index, int more) { return seen.insert({kind, index, more}).second; }
    bool first(const ConvJob& job) { return first(static_cast<int>(job.from), job.index, job.ins); }
    // The gradient that a slope is made of.
    bool first(const Slope& slope) { return first(16 + static_cast<int>(slope.above), slope.index, slope.channel); }
};

// A convolution that goes over its outputs in sweeps and brings its planes in `loads` times; a 1x1 one reads for itself, once a
// sweep. fresh: the first of the launch that reads them.
inline Work job_work(const CellView& cell, const ConvJob& job, double flops, double sweeps, double loads, bool fresh) {
    const double pixels = job.out_H * job.out_W, in = job.from == From::saved ? kept(cell) : 1;
    const double planes = in * job.ins * job.in_H * job.in_W, z = (job.to_state < 0 ? kept(cell) : 1) * job.outs * pixels;
    const double read = job.kernel == 1 ? sweeps * in * job.ins * pixels : loads * planes;
    const double again = (job.record && !cell.replay ? planes : 0) + (cell.training ? 2 * z : 0);
    return work_of(cell.V * cell.N, flops, read + again + z, fresh * planes + z);
}

// first: of its group, which loads the planes.
inline Work conv_work(const CellView& cell, const ConvJob& job, int R, bool first, bool fresh) {
    const Tiling tiling(job.out_H, job.out_W);
    const double sweeps = ceiling(job.outs, tiling.groups * R), tiles = ceiling(tiling.quads, tiling.lanes);
    const double flops = 2.0 * job.ins * job.out_H * job.out_W * (sweeps * job.taps() + job.outs);
    return job_work(cell, job, flops, sweeps, job.chunk < job.ins ? sweeps * tiles : first, fresh);
}

inline Work wide_conv_work(const CellView& cell, const ConvJob& job, bool fresh) {
    const WideShape shape(job);
    const double sweeps = ceiling(job.outs, shape.outs()), tiles = ceiling(shape.tiling.quads, shape.tiling.lanes);
    const double products = 2.0 * job.ins * job.out_H * job.out_W;  // with every tap, with every output
    Work work = job_work(cell, job, products * sweeps * job.taps(), sweeps, sweeps * tiles, fresh);
    work.products = 3 * products * cell.V * cell.N * job.outs;
    return work;
}

inline Work pool_work(const CellView& cell, const PoolJob& job) {
    const double in_pixels = double(job.stride * job.out_H) * (job.stride * job.out_W), pixels = cell.pixels();
    const double pooled = (job.max_pool + job.avg_pool) * cell.M * pixels, rest = job.bypass * (cell.C - cell.M);
    const double read = (job.max_pool || job.avg_pool) * cell.M * in_pixels + rest * in_pixels;
    const double moved = read + kept(cell) * (pooled + rest * pixels);
    return work_of(cell.V * cell.N, 9 * pooled, moved + (cell.training && job.normed ? 2 * kept(cell) * pooled : 0), moved);
}

inline Work convolve_work(const CellView& cell, const ConvJobs& jobs, int pools, int R) {
    Work work;
    Sources sources;
    for (int i = 0; i < jobs.groups; i++)
        for (int j = 0; j < jobs.group[i].count; j++) {
            const ConvJob& job = jobs.job[jobs.group[i].first + j];
            work += conv_work(cell, job, R, j == 0, sources.first(job));
        }
    for (int i = 0; i < pools; i++) work += pool_work(cell, jobs.pools.job[i]);
    return work;
}

inline Work wide_work(const CellView& cell, const ConvJobs& jobs, int pools) {
    Work work;
    Sources sources;
    for (int i = 0; i < jobs.groups; i++) work += wide_conv_work(cell, jobs.job[i], sources.first(jobs.job[i]));
    for (int i = 0; i < pools; i++) work += pool_work(cell, jobs.pools.job[i]);
    return work;
}

// What a node is summed from: planes, and the floats that they take.
struct Terms {
    double planes = 0, floats = 0;
    Terms(const CellView& cell, const NodeJob& job) {
        const auto add = [&](double channels, bool saved) {
            planes += channels;
            floats += (saved ? kept(cell) : 1) * channels;
        };
        for (int e = 0; e < job.edges; e++) {
            add(cell.C - cell.M, job.edge[e].bypass_z >= 0);
            for (int t = 0; t < job.edge[e].terms; t++) add(cell.M, job.edge[e].term[t].norm != NO_NORM);
        }
    }
};

inline Work combine_work(const CellView& cell, const NodeJob& job) {
    const Terms terms(cell, job);
    const double moved = (terms.floats + cell.C) * cell.pixels();
    return work_of(cell.V * cell.N, 4 * terms.planes * cell.pixels(), moved, moved);
}

inline Work node_slopes_work(const CellView& cell, const NodeJob& job) {
    const Terms terms(cell, job);
    const double pixels = cell.pixels(), asked = (terms.planes + terms.floats) * pixels;
    return work_of(cell.V * cell.N, 4 * terms.planes * pixels, asked, (terms.floats + cell.C) * pixels);
}

// Past the convolutions of a state: pools, skips, bypassing channels, the gradient of its output.
inline Work rest_work(const CellView& cell, const Target& target, const StateJob& state) {
    const double pixels = target.H * target.W, out_pixels = cell.pixels(), rest = cell.C - cell.M;
    const int kinds = (state.max_z >= 0) + (state.avg_z >= 0);
    double asked = (2 + (target.index >= 2)) * cell.C * pixels + 2 * kinds * cell.M * pixels;
    double distinct = (target.index >= 2) * cell.C * pixels + kept(cell) * kinds * cell.M * out_pixels + state.edges * rest * out_pixels;
    double flops = 9 * kinds * cell.M * pixels;
    for (int e = 0; e < state.edges; e++) {
        const OutEdge& edge = state.edge[e];
        const int pools = (edge.max_op >= 0) + (edge.avg_op >= 0), skips = (edge.skip_op >= 0) || edge.aux;
        asked += ((1 + kept(cell)) * pools + skips) * cell.M * out_pixels + rest * out_pixels;
        flops += 4 * (pools + skips) * cell.M * out_pixels;
    }
    return work_of(cell.V * cell.N, flops, asked, distinct);
}

// How often a target's jobs are gone through: each job's slopes are read `times` times; `computed` of its planes are, of which
// windows read a part twice.
struct Passes {
    double times, computed;
};

inline Work target_work(const CellView& cell, const SlopeJobs& jobs, int t, const std::function<Passes(const SlopeJob&)>& passes,
                        Sources& sources) {
    const Target& target = jobs.target[t];
    const double pixels = target.H * target.W, out_pixels = target.out_H * target.out_W, all = target.all(cell.C);
    double flops = 0, products = 0, asked = all * pixels, distinct = all * pixels;
    for (int j = target.first_job; j < target.first_job + target.jobs; j++) {
        const SlopeJob& job = jobs.job[j];
        const Passes pass = passes(job);
        const double taps = job.kernel == 1 ? 1 : job.kernel * job.kernel, slopes = job.outs * out_pixels;
        const double z = job.slope.above == Above::state ? 1 : kept(cell);
        asked += (1 + z) * pass.times * slopes;
        distinct += (z + sources.first(job.slope)) * slopes;
        flops += 5 * pass.times * slopes + 2 * taps * target.channels * out_pixels;
        products += 2 * pass.computed * slopes * target.channels;
    }
    if (target.norm != NO_NORM) {
        const double z = target.to == To::middle ? kept(cell) : 1;
        asked += (1 + z) * all * pixels;
        distinct += z * all * pixels;
    }
    Work work = work_of(cell.V * cell.N, flops, asked, distinct);
    work.products = products * cell.V * cell.N;
    if (target.to == To::state) work += rest_work(cell, target, jobs.state[t]);
    if (target.to == To::state && target.index >= 2) work += node_slopes_work(cell, jobs.node);
    return work;
}

inline Work gradient_work(const CellView& cell, const SlopeJobs& jobs, int targets, int R) {
    Work work;
    Sources sources;
    for (int t = 0; t < targets; t++) {
        const Target& target = jobs.target[t];
        const Tiling tiling(target.H, target.W);
        const double tiles = ceiling(tiling.quads, tiling.lanes), parts = ceiling(target.channels, tiling.groups * R);
        work += target_work(cell, jobs, t, [&](const SlopeJob&) { return Passes{parts * tiles, tiles}; }, sources);
    }
    work.flops += work.products;
    work.products = 0;
    return work;
}

// The rows that bands read, over those that there are.
inline double overlap(int rows, int band, int reach) {
    double read = 0;
    for (int y = 0; y < rows; y += band) read += std::min(rows, y + band + reach) - std::max(0, y - reach);
    return read / rows;
}

inline Work wide_gradient_work(const CellView& cell, const SlopeJobs& jobs, int targets) {
    Work work;
    Sources sources;
    for (int t = 0; t < targets; t++) {
        const Target& target = jobs.target[t];
        const auto passes = [&](const SlopeJob& job) {
            const double read = overlap(target.out_H, target.band, slope_reach(job));
            return Passes{read * target.channels / CORE, 3 * read};
        };
        work += target_work(cell, jobs, t, passes, sources);
    }
    return work;
}

inline Work weight_work(const CellView& cell, const WeightJob& weight, Sources& sources) {
    const ConvJob& job = weight.conv;
    const bool cores = weight.lanes == 0;
    const double pixels = job.out_H * job.out_W, slopes = job.outs * pixels, times = weight.chunks();
    const double sweeps = cores ? ceiling(job.outs, SWEEP * CORE) : 1, multiplied = (job.taps() ? 4.0 : 2.0) * job.ins * slopes;
    const double overlapping = cores && job.taps() ? overlap(job.out_H, weight.band, job.kernel / 2 * job.dilation / job.stride) : 1;
    const double in = job.from == From::saved ? kept(cell) : 1, z = job.to_state < 0 ? kept(cell) : 1;
    const double planes = in * job.ins * (job.kernel == 1 ? pixels : double(job.in_H) * job.in_W);
    const double deep = sweeps * (job.taps() ? 4.0 * job.taps() * job.ins * pixels : 0);
    Work work = work_of(cell.V * cell.N, 5 * times * slopes + deep + (cores ? 0 : multiplied),
                        (job.taps() ? overlapping : sweeps) * planes + (1 + z) * times * slopes,
                        sources.first(job) * planes + (z + sources.first(weight.slope)) * slopes);
    work.products = cores ? 3 * multiplied * cell.V * cell.N : 0;
    return work;
}

inline Work weight_gradient_work(const CellView& cell, const WeightJobs& jobs, int count) {
    Work work;
    Sources sources;
    for (int i = 0; i < count; i++) work += weight_work(cell, jobs.job[i], sources);
    return work;
}

}  // namespace sgl_fast
