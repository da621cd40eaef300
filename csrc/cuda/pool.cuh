// 3x3 pools with a border of 1 of a state's mixed channels, and the 2x2 max-pool of those that bypass: a block an image and
// a state. A max-pool's pattern is which of its window's pixels it chose: four bits, row-major, two to a byte.
#pragma once

#include "cell.cuh"

namespace sgl_fast {

constexpr int MOST_EDGES = 16;  // out of a state

struct PoolJob {
    int state, stride, out_H, out_W;
    bool max_pool, avg_pool, bypass;
    int max_z, avg_z, bypass_z, codes, bypass_codes;
    int max_norm, avg_norm;                              // of the first out-edge
    int max_edges, avg_edges;                            // how many share them
    int max_norms[MOST_EDGES], avg_norms[MOST_EDGES];    // the norms of all
};

struct PoolJobs {
    PoolJob job[2];
};

__device__ __forceinline__ int code_bytes(int W) { return (W + 1) / 2; }

__device__ __forceinline__ int code_at(const unsigned char* codes, int channel, int H, int W, int y, int x) {
    return codes[((long long)channel * H + y) * code_bytes(W) + x / 2] >> x % 2 * 4 & 15;
}

// The windows of SIDE x SIDE at output (y, x).
template <int SIDE> struct Window {
    const Planes& from;
    int channel, top, left;

    __device__ Window(const Planes& from, int channel, int stride, int y, int x)
        : from(from), channel(channel), top(stride * y - (SIDE == 3)), left(stride * x - (SIDE == 3)) {}
    __device__ bool has(int t) const {
        const int y = top + t / SIDE, x = left + t % SIDE;
        return y >= 0 && y < from.H && x >= 0 && x < from.W;
    }
    __device__ float pixel(int t) const { return from.pixel(channel, (top + t / SIDE) * from.W + left + t % SIDE); }
    __device__ int largest() const {
        int best = -1;
        for (int t = 0; t < SIDE * SIDE; t++)
            if (has(t) && (best < 0 || !(pixel(t) <= pixel(best)))) best = t;
        return best;
    }
    __device__ float average() const {
        float total = 0;
        int count = 0;
        for (int t = 0; t < SIDE * SIDE; t++) {
            if (!has(t)) continue;
            total += pixel(t);
            count++;
        }
        return total / count;
    }
};

// Channels c0 .. c0 + count - 1; two neighbouring outputs, a byte of codes, a thread.
template <int SIDE>
__device__ __forceinline__ void max_pool(const Planes& from, int c0, int count, const PoolJob& job, bool replay,
                                         unsigned char* codes, float* z) {
    const int row = code_bytes(job.out_W);
    for (int i = threadIdx.x; i < count * job.out_H * row; i += CELL_THREADS) {
        const int channel = i / (job.out_H * row), y = i / row % job.out_H, first = i % row * 2;
        unsigned byte = replay ? codes[i] : 0;
        for (int x = first; x < job.out_W && x < first + 2; x++) {
            const Window<SIDE> window(from, c0 + channel, job.stride, y, x);
            const int shift = (x - first) * 4, code = replay ? byte >> shift & 15 : window.largest();
            z[((long long)channel * job.out_H + y) * job.out_W + x] = window.pixel(code);
            if (!replay) byte |= (unsigned)code << shift;
        }
        if (!replay) codes[i] = (unsigned char)byte;
    }
}

__device__ __forceinline__ void avg_pool(const Planes& from, int count, const PoolJob& job, float* z) {
    const int pixels = job.out_H * job.out_W;
    for (int i = threadIdx.x; i < count * pixels; i += CELL_THREADS) {
        const int index = i % pixels;
        z[i] = Window<3>(from, i / pixels, job.stride, index / job.out_W, index % job.out_W).average();
    }
}

// The statistics of the first norm are those of the others.
__device__ __forceinline__ void share_norm(const CellView& cell, int v, int norm, int count, const int* norms) {
    for (int i = threadIdx.x; i < cell.M * count; i += CELL_THREADS) {
        const int to = norms[i / cell.M], channel = i % cell.M;
        for (int row = 0; row < 3 && to != norm; row++) {
            float* stats = cell.stats + ((long long)v * 3 + row) * cell.norms;
            stats[to + channel] = stats[norm + channel];
        }
    }
}

__device__ __forceinline__ void finish_pool(const CellView& cell, int image, const float* z, int norm, int count,
                                            const int* norms) {
    const int v = image / cell.N, pixels = cell.pixels();
    const long long at = (long long)image * cell.norms + norm;
    measure(z, cell.M, pixels, cell.partial_mean + at, cell.partial_deviations + at);
    if (!last_of(cell.tickets + v * cell.norms + norm, cell.N)) return;
    finish_norm(cell, v, norm, cell.M, pixels);
    __syncthreads();
    share_norm(cell, v, norm, count, norms);
}

__device__ __forceinline__ void pool(const CellView& cell, const PoolJob& job, int image) {
    const Planes from = state_of(cell, job.state, image / cell.N, image % cell.N);
    float* planes = cell.planes_of(image);
    unsigned char* pattern = cell.pattern_of(image);
    if (job.max_pool) max_pool<3>(from, 0, cell.M, job, cell.replay, pattern + job.codes, planes + job.max_z);
    if (job.avg_pool) avg_pool(from, cell.M, job, planes + job.avg_z);
    if (job.bypass)
        max_pool<2>(from, cell.M, cell.C - cell.M, job, cell.replay, pattern + job.bypass_codes, planes + job.bypass_z);
    if (!cell.training) return;
    __syncthreads();
    if (job.max_pool) finish_pool(cell, image, planes + job.max_z, job.max_norm, job.max_edges, job.max_norms);
    if (job.avg_pool) finish_pool(cell, image, planes + job.avg_z, job.avg_norm, job.avg_edges, job.avg_norms);
}

}  // namespace sgl_fast
