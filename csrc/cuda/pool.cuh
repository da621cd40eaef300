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
    __forceinline__ void see(int t, float x) {
        if (!(x > most || x != x)) return;
        best = t;
        most = x;
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
    const int rows = inside(y, S, H), top = S * y - 1;
    float window[3][width], largest[4], means[4];
#pragma unroll
    for (int i = 0; i < 3; i++) read_fours(plane + tile.at(top + i, S * x - PAD), window[i]);
    unsigned chosen = 0;
#pragma unroll
    for (int e = 0; e < 4; e++) {
        const int left = S * (x + e) - 1, given = choices >> 4 * e & 15;
        Largest found((top < 0 ? 3 : 0) + (left < 0 ? 1 : 0));
        float total = 0, replayed = 0;
#pragma unroll
        for (int t = 0; t < 9; t++) {
            const int row = top + t / 3, column = left + t % 3;
            const float pixel = window[t / 3][start + S * e + t % 3];
            total += pixel;
            if (t == (given < 8 ? given : 8)) replayed = pixel;
            if (row >= 0 && row < H && column >= 0 && column < W) found.see(t, pixel);
        }
        largest[e] = replay ? replayed : found.most;
        chosen |= (unsigned)found.best << 4 * e;
        means[e] = total / (rows * inside(x + e, S, W));
    }
    if (!replay) choices = chosen;
    most = make_float4(largest[0], largest[1], largest[2], largest[3]);
    mean = make_float4(means[0], means[1], means[2], means[3]);
}

// Of a pool's block.
struct PoolBlock {
    const CellView& cell;
    const PoolJob& job;
    const Planes from;
    const PaddedPlane tile;
    const Tiling& out;
    const int image;
    float* shared;  // planes, then (2, M, parts) Moments: of max-pools, of average pools
    int room;       // floats for planes

    __forceinline__ int parts() const { return parts_of(out.lanes); }
    __forceinline__ Moments* moments(int average, int channel) const {
        return (Moments*)(shared + room) + (average * cell.M + channel) * parts();
    }
};

// Four outputs of both pools of a channel, number c of those in shared memory, written; and their moments.
__forceinline__ void pool_quads(const PoolBlock& block, int channel, int c, int q0) {
    const CellView& cell = block.cell;
    const PoolJob& job = block.job;
    const Tiling& out = block.out;
    const int q = q0 + tile_lane(out), at = q < out.quads ? q : out.quads - 1, y = out.y(at), x = out.x(at),
              left = job.out_W - x, mixed = channel < cell.M ? channel : cell.M - 1;
    const PowerOfTwo span = out.span();
    const bool has = q < out.quads && channel < cell.M;
    unsigned char* argmax = cell.pattern_of(block.image) + job.argmax +
                            ((long long)mixed * job.out_H + y) * argmax_bytes(job.out_W) + x / 2;
    unsigned choices = job.max_pool && cell.replay ? read_choices(argmax, left) : 0;
    float4 both[2];
    const float* plane = block.shared + c * block.tile.floats;
    if (job.stride == 1)
        pool_quad<1>(plane, block.tile, block.from.H, block.from.W, y, x, cell.replay, choices, both[0], both[1]);
    else
        pool_quad<2>(plane, block.tile, block.from.H, block.from.W, y, x, cell.replay, choices, both[0], both[1]);
    if (has && job.max_pool && !cell.replay) write_choices(argmax, choices, left);
    const StoragePtr saved = cell.saved_of(block.image) + (long long)mixed * cell.pixels() + y * job.out_W;
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
    const Planes& from = block.from;
    const int chunk = block.job.chunk;
    clear(block.shared, chunk * block.tile.floats);
    for (int c0 = 0; c0 < cell.M; c0 += chunk) {
        const int count = cell.M - c0 < chunk ? cell.M - c0 : chunk, octets = count * from.H * block.job.octets.in_row;
        __syncthreads();
        for (int first = threadIdx.x; first < octets; first += CELL_THREADS) {
            Octets<1> in;
            in.read(from, block.job.octets, c0, count, block.tile, first, CELL_THREADS, nullptr);
            in.write<false>(false, nullptr, block.shared);
        }
        __syncthreads();
        for (int c = 0; c < count; c += block.out.groups)
            for (int q0 = 0; q0 < block.out.quads; q0 += block.out.lanes) {
                const int mine = c + tile_group(block.out), channel = mine < count ? c0 + mine : cell.M;
                pool_quads(block, channel, mine < count ? mine : 0, q0);
            }
    }
}

// The 2x2 max-pools of the bypassing channels, four outputs a thread at a time.
__forceinline__ void bypass_pools(const PoolBlock& block) {
    const CellView& cell = block.cell;
    const PoolJob& job = block.job;
    const Planes& from = block.from;
    const Tiling& out = block.out;
    for (int i = threadIdx.x; i < (cell.C - cell.M) * out.quads; i += CELL_THREADS) {
        const int channel = i / out.quads, q = i % out.quads, y = out.y(q), x = out.x(q), c = cell.M + channel,
                  first = (c * from.H + 2 * y) * from.W + 2 * x, left = job.out_W - x;
        const int at[2] = {first, first + from.W}, lefts[2] = {from.W - 2 * x, from.W - 2 * x};
        const float mean = from.mean ? from.mean[c] : 0, scale = from.mean ? from.scale[c] : 1;
        unsigned char* argmax = cell.pattern_of(block.image) + job.bypass_argmax +
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
        write_quad(cell.saved_of(block.image) + job.bypass_z + ((long long)channel * job.out_H + y) * job.out_W, x,
                   job.out_W, make_float4(largest[0], largest[1], largest[2], largest[3]));
    }
}

// The statistics of the first norm are those of the others.
__forceinline__ void share_norm(const CellView& cell, int v, int norm, int count, const int* norms) {
    for (int i = threadIdx.x; i < cell.M * count; i += CELL_THREADS) {
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
    const int v = block.image / cell.N, first = job.max_pool ? 0 : 1, count = (job.max_pool + job.avg_pool) * cell.M;
    const auto norm_of = [&](int i) {
        return first + i / cell.M ? job.avg_norm + i % cell.M : job.max_norm + i % cell.M;
    };
    for (int i = threadIdx.x; i < count; i += CELL_THREADS) {
        const Moments* of = block.moments(first + i / cell.M, i % cell.M);
        Moments all = of[0];
        for (int k = 1; k < block.parts(); k++) merge(all, of[k]);
        const long long norm = (long long)block.image * cell.norms + norm_of(i);
        cell.partial_mean[norm] = all.mean;
        cell.partial_deviations[norm] = all.deviations;
    }
    if (!is_last_block(cell.arrivals + v * cell.norms + norm_of(0), cell.N)) return;
    finish_norms(cell, v, count, cell.pixels(), norm_of);
    __syncthreads();
    if (job.max_pool) share_norm(cell, v, job.max_norm, job.max_edges, job.max_norms);
    if (job.avg_pool) share_norm(cell, v, job.avg_norm, job.avg_edges, job.avg_norms);
}

// room: floats of shared memory.
__forceinline__ void pool(const CellView& cell, const PoolJob& job, int image, int room, float* shared) {
    const PoolBlock block{cell,
                          job,
                          state_of(cell, job.state, image / cell.N, image % cell.N),
                          PaddedPlane(job.stride, job.out_H, job.out_W),
                          cell.tiling,
                          image,
                          shared,
                          room - pool_moments(cell.M, cell.tiling)};
    if (job.max_pool || job.avg_pool) pools_of(block);
    if (job.bypass) bypass_pools(block);
    if (!cell.training || !job.normed) return;
    __syncthreads();
    finish_pools(block);
}

}  // namespace sgl_fast
