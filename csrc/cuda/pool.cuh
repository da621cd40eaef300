// 3x3 pools with a border of 1 of a state's mixed channels, and the 2x2 max-pool of those that bypass: a block an image and
// a state. A max-pool's pattern is which of its window's pixels it chose: four bits, row-major, two to a byte.
#pragma once

#include "moments.cuh"
#include "padded.cuh"

namespace sgl_fast {

__forceinline__ int argmax_bytes(int W) { return (W + 1) / 2; }

__forceinline__ int argmax_at(const unsigned char* argmax, int channel, int H, int W, int y, int x) {
    return argmax[((long long)channel * H + y) * argmax_bytes(W) + x / 2] >> x % 2 * 4 & 15;
}

// How many of the three pixels of a window with a border of 1 are inside, along one side.
__forceinline__ int inside(int at, int stride, int size) {
    const int first = stride * at - 1, last = first + 2;
    return 3 - (first < 0) - (last >= size);
}

// The 3x3 window of a padded plane, `at` its first pixel.
struct Window3 {
    static constexpr int side = 3;
    const float* at;
    int row, top, left, H, W;

    Window3(const float* padded, const PaddedPlane& plane, const Planes& from, int stride, int y, int x)
        : at(padded + plane.at(stride * y - 1, stride * x - 1)), row(plane.row), top(stride * y - 1),
          left(stride * x - 1), H(from.H), W(from.W) {}
    bool has(int t) const {
        const int y = top + t / 3, x = left + t % 3;
        return y >= 0 && y < H && x >= 0 && x < W;
    }
    float pixel(int t) const { return at[t / 3 * row + t % 3]; }
};

// The 2x2 window of a plane.
struct Window2 {
    static constexpr int side = 2;
    const Planes& from;
    int channel, first;

    bool has(int) const { return true; }
    float pixel(int t) const { return from.pixel(channel, first + t / 2 * from.W + t % 2); }
};

// The first of equal maxima, and the last NaN.
template <class Window> __forceinline__ int largest(const Window& window) {
    int best = -1;
    float most = 0;
#pragma unroll
    for (int t = 0; t < Window::side * Window::side; t++) {
        if (!window.has(t)) continue;
        const float x = window.pixel(t);
        if (best >= 0 && !(x > most || x != x)) continue;
        best = t;
        most = x;
    }
    return best;
}

// The max-pools of `count` channels; window_at(channel, y, x). Two neighbouring outputs, a byte of the pattern, a thread.
template <class WindowAt>
__forceinline__ void max_pool(int count, const PoolJob& job, bool replay, unsigned char* argmax, const StoragePtr& z,
                              const WindowAt& window_at) {
    const int row = argmax_bytes(job.out_W), bytes = job.out_H * row;
    for (int i = threadIdx.x; i < count * bytes; i += CELL_THREADS) {
        const int channel = i / bytes, y = i % bytes / row, first = i % bytes % row * 2;
        unsigned byte = replay ? argmax[i] : 0;
        for (int x = first; x < job.out_W && x < first + 2; x++) {
            const auto window = window_at(channel, y, x);
            const int shift = (x - first) * 4, given = byte >> shift & 15, last = window.side * window.side - 1;
            const int chosen = replay ? (given < last ? given : last) : largest(window);  // a pattern is any bytes
            store(z, ((long long)channel * job.out_H + y) * job.out_W + x, window.pixel(chosen));
            if (!replay) byte |= (unsigned)chosen << shift;
        }
        if (!replay) argmax[i] = (unsigned char)byte;
    }
}

// The average pools of `count` padded planes.
__forceinline__ void avg_pool(const Planes& from, int count, const PoolJob& job, const PaddedPlane& plane,
                              const float* padded, const StoragePtr& z) {
    const int pixels = job.out_H * job.out_W;
    for (int i = threadIdx.x; i < count * pixels; i += CELL_THREADS) {
        const int channel = i / pixels, y = i % pixels / job.out_W, x = i % pixels % job.out_W;
        const Window3 window(padded + channel * plane.floats, plane, from, job.stride, y, x);
        float total = 0;
#pragma unroll
        for (int t = 0; t < 9; t++) total += window.pixel(t);
        store(z, i, total / (inside(y, job.stride, from.H) * inside(x, job.stride, from.W)));
    }
}

// Both 3x3 pools, in as many channels at a time as `room` floats hold.
__forceinline__ void pools_of(const CellView& cell, const PoolJob& job, const Planes& from, int image, int room,
                              float* padded) {
    const PaddedPlane plane(job.stride, job.out_H, job.out_W);
    const int chunk = room / plane.floats < cell.M ? room / plane.floats : cell.M;
    const int row = job.out_H * argmax_bytes(job.out_W);
    const StoragePtr planes = cell.saved_of(image);
    clear(padded, chunk * plane.floats);
    for (int c0 = 0; c0 < cell.M; c0 += chunk) {
        const int count = cell.M - c0 < chunk ? cell.M - c0 : chunk;
        __syncthreads();
        load_padded(from.H, from.W, count, plane, padded, [&](int c, int y, int x) { return from.quad(c0 + c, y, x); });
        __syncthreads();
        if (job.max_pool)
            max_pool(count, job, cell.replay, cell.pattern_of(image) + job.argmax + c0 * row,
                     planes + job.max_z + (long long)c0 * cell.pixels(), [&](int c, int y, int x) {
                         return Window3(padded + c * plane.floats, plane, from, job.stride, y, x);
                     });
        if (job.avg_pool) avg_pool(from, count, job, plane, padded, planes + job.avg_z + (long long)c0 * cell.pixels());
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

__forceinline__ void finish_pool(const CellView& cell, int image, const StoragePtr& z, int norm, int count,
                                 const int* norms) {
    const int v = image / cell.N;
    const long long at = (long long)image * cell.norms + norm;
    measure(z, cell.M, cell.out_H, cell.out_W, cell.partial_mean + at, cell.partial_deviations + at);
    if (!is_last_block(cell.arrivals + v * cell.norms + norm, cell.N)) return;
    finish_norms(cell, v, cell.M, cell.pixels(), [&](int c) { return norm + c; });
    __syncthreads();
    share_norm(cell, v, norm, count, norms);
}

__forceinline__ void pool(const CellView& cell, const PoolJob& job, int image, int room, float* shared) {
    const Planes from = state_of(cell, job.state, image / cell.N, image % cell.N);
    const StoragePtr planes = cell.saved_of(image);
    if (job.max_pool || job.avg_pool) pools_of(cell, job, from, image, room, shared);
    if (job.bypass)
        max_pool(cell.C - cell.M, job, cell.replay, cell.pattern_of(image) + job.bypass_argmax, planes + job.bypass_z,
                 [&](int c, int y, int x) {
                     return Window2{from, cell.M + c, 2 * y * from.W + 2 * x};
                 });
    if (!cell.training || !job.normed) return;
    __syncthreads();
    if (job.max_pool) finish_pool(cell, image, planes + job.max_z, job.max_norm, job.max_edges, job.max_norms);
    if (job.avg_pool) finish_pool(cell, image, planes + job.avg_z, job.avg_norm, job.avg_edges, job.avg_norms);
}

}  // namespace sgl_fast
