// 3x3 pools with a border of 1 of a state's mixed channels, and the 2x2 max-pool of those that bypass: a block an image and
// a state. A max-pool's pattern is which of its window's pixels it chose: four bits, row-major, two to a byte.
#pragma once

#include "moments.cuh"
#include "octets.cuh"

namespace sgl_fast {

__forceinline__ int argmax_bytes(int W) { return (W + 1) / 2; }

// How many of the three pixels of a window with a border of 1 are inside, along one side.
__forceinline__ int inside(int at, int stride, int size) {
    const int first = stride * at - 1, last = first + 2;
    return 3 - (first < 0) - (last >= size);
}

// The largest of some pixels: the first of equal ones, and the last NaN. best: at first the first pixel that there is.
struct Largest {
    int best;
    float most;

    explicit Largest(int first) : best(first), most(-infinity()) {}
    __forceinline__ void see(int t, float x) { take(x > most || x != x, t, x); }
    __forceinline__ void take(bool wanted, int t, float x) {
        best = wanted ? t : best;
        most = wanted ? x : most;
    }
};

// Four outputs' choices, four bits each, `left` of which are in the row: two bytes.
__forceinline__ void write_choices(unsigned char* at, unsigned choices, int left) {
    at[0] = (unsigned char)(left > 1 ? choices : choices & 15);
    if (left > 2) at[1] = (unsigned char)(left > 3 ? choices >> 8 : choices >> 8 & 15);
}

__forceinline__ unsigned read_choices(const unsigned char* at, int left) { return at[0] | at[left > 2 ? 1 : 0] << 8; }

// Both 3x3 pools of four outputs from (y, x) on, from a padded plane of H x W pixels. choices: of the max-pool, given if
// this is a replay; a pattern is any bytes.
template <int S>
__forceinline__ void pool_quad(const float* plane, const PaddedPlane& tile, int H, int W, int y, int x, bool replay,
                               unsigned& choices, float4& most, float4& mean) {
    constexpr int width = 12, start = PAD - 1;  // start: of the window of the first output
    const int rows = inside(y, S, H), top = S * y - 1, first = top < 0 ? 3 : 0;
    Largest found[4] = {Largest(first + (x == 0)), Largest(first), Largest(first), Largest(first)};
    float largest[4], means[4], totals[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < 3; i++) {
        float window[width];
        read_some<start, start + S * 3 + 2>(plane + tile.at(top + i, S * x - PAD), window);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int given = choices >> 4 * e & 15;
#pragma unroll
            for (int j = 0; j < 3; j++) {
                const int t = 3 * i + j, row = top + i, column = S * (x + e) - 1 + j;
                const float pixel = window[start + S * e + j];
                totals[e] += pixel;
                const bool there =
                    row >= 0 && row < H && column >= 0 && column<W, larger = pixel> found[e].most || pixel != pixel;
                found[e].take(replay ? t == (given < 8 ? given : 8) : there && larger, t, pixel);
            }
        }
    }
    unsigned chosen = 0;
#pragma unroll
    for (int e = 0; e < 4; e++) {
        largest[e] = found[e].most;
        chosen |= (unsigned)found[e].best << 4 * e;
        means[e] = totals[e] / (rows * inside(x + e, S, W));
    }
    if (!replay) choices = chosen;
    most = make_float4(largest[0], largest[1], largest[2], largest[3]);
    mean = make_float4(means[0], means[1], means[2], means[3]);
}

// Of a pool's block.
struct PoolBlock {
    const CellView& cell;
    const PoolJob& job;
    float* shared;  // planes, then (2, M, parts) Moments: of max-pools, of average pools
    int room;       // floats for planes

    // Found where they are needed, rather than kept in registers.
    __forceinline__ int image() const { return anew((int)blockIdx.y); }
    __forceinline__ const Tiling& out() const { return cell.tiling; }
    __forceinline__ Planes from() const { return state_of(cell, job.state, image() / cell.N, image() % cell.N); }
    __forceinline__ int H() const { return job.state < 2 ? cell.H : cell.out_H; }
    __forceinline__ int W() const { return job.state < 2 ? cell.W : cell.out_W; }
    __forceinline__ PaddedPlane tile() const { return {job.stride, job.out_H, job.out_W}; }
    __forceinline__ int parts() const { return parts_of(out().lanes); }
    __forceinline__ Moments* moments(int average, int channel) const {
        return (Moments*)(shared + room) + (average * cell.M + channel) * parts();
    }
};

// Four outputs of both pools of a channel, number c of those in shared memory, written; and their moments.
__forceinline__ void pool_quads(const PoolBlock& block, int channel, int c, int q0) {
    const CellView& cell = block.cell;
    const PoolJob& job = block.job;
    const Tiling& out = block.out();
    unsigned choices = 0;
    float4 both[2];
    const auto argmax = [&](int channel, int y, int x) {
        return cell.pattern_of(block.image()) +
               (job.argmax + (channel * job.out_H + y) * argmax_bytes(job.out_W) + x / 2);
    };
    {
        const int q = q0 + tile_lane(out), at = q < out.quads ? q : out.quads - 1, y = out.y(at), x = out.x(at);
        if (job.max_pool && cell.replay)
            choices = read_choices(argmax(channel < cell.M ? channel : cell.M - 1, y, x), job.out_W - x);
        const PaddedPlane tile = block.tile();
        const float* plane = block.shared + c * tile.next();
        if (job.stride == 1)
            pool_quad<1>(plane, tile, block.H(), block.W(), y, x, cell.replay, choices, both[0], both[1]);
        else
            pool_quad<2>(plane, tile, block.H(), block.W(), y, x, cell.replay, choices, both[0], both[1]);
    }
    // Found again rather than kept in registers.
    const int q = anew(q0) + tile_lane(out), at = q < out.quads ? q : out.quads - 1, y = out.y(at), x = out.x(at),
              left = job.out_W - x, mixed = anew(channel) < cell.M ? channel : cell.M - 1;
    const PowerOfTwo span = out.span();
    const bool has = q < out.quads && channel < cell.M;
    if (has && job.max_pool && !cell.replay) write_choices(argmax(mixed, y, x), choices, left);
    const StoragePtr saved = cell.saved_of(block.image()) + (long long)mixed * cell.pixels() + y * job.out_W;
    if (has && job.max_pool) write_quad(saved + job.max_z, x, job.out_W, both[0]);
    if (has && job.avg_pool) write_quad(saved + job.avg_z, x, job.out_W, both[1]);
    if (!cell.training || !job.normed) return;
#pragma unroll
    for (int i = 0; i < 2; i++)
        both[i] = has ? within(as_saved(saved, both[i]), x, job.out_W) : make_float4(0, 0, 0, 0);
    Moments found = moments_of(both, !has ? 0 : left < 4 ? left : 4, span);
    const int mine = tile_lane(out);
    if (channel >= cell.M || mine % span >= 2) return;
    Moments& all = block.moments(lane_number<2>(), channel)[mine / span];
    if (q0) merge(found, all);
    all = found;
}

// Both 3x3 pools, in as many channels at a time as `room` floats hold.
__forceinline__ void pools_of(const PoolBlock& block) {
    const CellView& cell = block.cell;
    const Tiling& out = block.out();
    clear(block.shared, block.tile().floats_of(block.job.chunk), anew((int)threadIdx.x));
#pragma unroll 1
    for (int c0 = 0; c0 < cell.M; c0 += block.job.chunk) {
        const int count = cell.M - c0 < block.job.chunk ? cell.M - c0 : block.job.chunk,
                  octets = count * block.H() * block.job.octets.in_row;
        __syncthreads();
#pragma unroll 1
        for (int first = threadIdx.x; first < octets; first += CELL_THREADS) {
            Octet in;
            in.read(block.from(), block.job.octets, c0, count, first, nullptr);
            in.write<false>(block.job.octets, block.H(), block.W(), c0, block.tile(), false, nullptr, block.shared);
        }
        __syncthreads();
#pragma unroll 1
        for (int c = 0; c < count; c += out.groups)
#pragma unroll 1
            for (int q0 = 0; q0 < out.quads; q0 += out.lanes) {
                const int mine = c + tile_group(out), channel = mine < count ? c0 + mine : cell.M;
                pool_quads(block, channel, mine < count ? mine : 0, q0);
            }
    }
}

// The 2x2 max-pools of the bypassing channels, four outputs a thread at a time.
__forceinline__ void bypass_pools(const PoolBlock& block) {
    const CellView& cell = block.cell;
    const PoolJob& job = block.job;
    const Planes from = block.from();
    const Tiling& out = block.out();
#pragma unroll 1
    for (int i = threadIdx.x; i < (cell.C - cell.M) * out.quads; i += CELL_THREADS) {
        const int channel = i / out.quads, q = i % out.quads, y = out.y(q), x = out.x(q), c = cell.M + channel,
                  first = (c * from.H + 2 * y) * from.W + 2 * x, left = job.out_W - x;
        const int at[2] = {first, first + from.W}, lefts[2] = {from.W - 2 * x, from.W - 2 * x};
        const float mean = from.mean ? from.mean[c] : 0, scale = from.mean ? from.scale[c] : 1;
        unsigned char* argmax = cell.pattern_of(block.image()) + job.bypass_argmax +
                                ((long long)channel * job.out_H + y) * argmax_bytes(job.out_W) + x / 2;
        const unsigned given = cell.replay ? read_choices(argmax, left) : 0;
        float4 quads[4];
        read_octets(from.first, at, lefts, from.W, quads);
        const float pixels[2][8] = {
            {quads[0].x, quads[0].y, quads[0].z, quads[0].w, quads[1].x, quads[1].y, quads[1].z, quads[1].w},
            {quads[2].x, quads[2].y, quads[2].z, quads[2].w, quads[3].x, quads[3].y, quads[3].z, quads[3].w}};
        float largest[4];
        unsigned choices = 0;
#pragma unroll
        for (int e = 0; e < 4; e++) {
            Largest found(0);
            const unsigned chosen = given >> 4 * e & 15;
            float replayed = 0;
#pragma unroll
            for (int t = 0; t < 4; t++) {
                const float pixel = (pixels[t / 2][2 * e + t % 2] - mean) * scale;
                if (t == (int)(chosen < 3 ? chosen : 3)) replayed = pixel;
                found.see(t, pixel);
            }
            largest[e] = cell.replay ? replayed : found.most;
            choices |= (unsigned)found.best << 4 * e;
        }
        if (!cell.replay) write_choices(argmax, choices, left);
        write_quad(cell.saved_of(block.image()) + job.bypass_z + ((long long)channel * job.out_H + y) * job.out_W, x,
                   job.out_W, make_float4(largest[0], largest[1], largest[2], largest[3]));
    }
}

// The statistics of the first norm are those of the others.
__forceinline__ void share_norm(const CellView& cell, int v, int norm, int count, const int* norms) {
#pragma unroll 1
    for (int i = anew((int)threadIdx.x); i < cell.M * count; i += CELL_THREADS) {
        const int to = norms[i / cell.M], channel = i % cell.M;
        for (int row = 0; row < 3 && to != norm; row++) {
            float* stats = cell.stats + ((long long)v * 3 + row) * cell.norms;
            stats[to + channel] = stats[norm + channel];
        }
    }
}

// The norms of both pools, from the moments of their planes' parts.
__forceinline__ void finish_pools(const PoolBlock& block) {
    const CellView& cell = block.cell;
    const PoolJob& job = block.job;
    const int v = block.image() / cell.N, first = job.max_pool ? 0 : 1, count = (job.max_pool + job.avg_pool) * cell.M;
    const auto norm_of = [&](int i) {
        return first + i / cell.M ? job.avg_norm + i % cell.M : job.max_norm + i % cell.M;
    };
    for (int i = threadIdx.x; i < count; i += CELL_THREADS) {
        const Moments all = merged(block.moments(first + i / cell.M, i % cell.M), block.parts());
        const long long norm = (long long)block.image() * cell.norms + norm_of(i);
        cell.partial_mean[norm] = all.mean;
        cell.partial_deviations[norm] = all.deviations;
    }
    if (!is_last_block(cell.arrivals + v * cell.norms + norm_of(0), cell.N)) return;
    finish_norms(cell, v, count, cell.pixels(), norm_of);
    __syncthreads();
    if (job.max_pool) share_norm(cell, v, job.max_norm, job.max_edges, job.max_norms);
    if (job.avg_pool) share_norm(cell, v, job.avg_norm, job.avg_edges, job.avg_norms);
}

// A block after those of convolutions. job: in shared memory.
__forceinline__ void pool(const CellView& cell, const ConvJobs& jobs, PoolJob& job, float* shared) {
    for (int i = threadIdx.x; i < (int)(sizeof(PoolJob) / sizeof(int)); i += CELL_THREADS)
        ((int*)&job)[i] = ((const int*)&jobs.pools.job[blockIdx.x - jobs.groups])[i];
    __syncthreads();
    const PoolBlock block{cell, job, shared, jobs.room - pool_moments(cell.M, cell.tiling)};
    if (job.max_pool || job.avg_pool) pools_of(block);
    if (job.bypass) bypass_pools(block);
    if (!cell.training || !job.normed) return;
    __syncthreads();
    finish_pools(block);
}

}  // namespace sgl_fast
