// What a state's pixel is, ReLU patterns, batch statistics.
#pragma once

#include "device.cuh"

namespace sgl_fast {

constexpr float EPS = 1e-5f;  // of batch norm

// Planes of one image, and the norm that a reader applies: x -> (x - mean) * scale.
struct Planes {
    StoragePtr first;
    int H, W;
    const float *mean, *scale;  // of the first channel; null: as it is

    float pixel(int channel, int index) const {
        const float x = load(first, (long long)channel * H * W + index);
        return mean ? (x - mean[channel]) * scale[channel] : x;
    }
    // Four pixels of a row from x on, 0 past its end.
    float4 quad(int channel, int y, int x) const {
        return normed(read_quad(first + ((long long)channel * H + y) * W, x, W), channel, x);
    }
    // The planes from this channel on.
    Planes from(int channel) const {
        const StoragePtr plane = first + (long long)channel * H * W;
        return {plane, H, W, mean ? mean + channel : nullptr, mean ? scale + channel : nullptr};
    }
    // Four pixels from x on, as they are in memory, after the norm.
    float4 normed(const float4& four, int channel, int x) const {
        if (!mean) return four;
        const float m = mean[channel], s = scale[channel];
        return within(make_float4((four.x - m) * s, (four.y - m) * s, (four.z - m) * s, (four.w - m) * s), x, W);
    }
};

__forceinline__ Planes input_of(const CellView& cell, int which, int v, int n, int H, int W) {
    const float* s = which ? cell.s[1] : cell.s[0];  // a varying index would move the parameters to the stack
    const long long learner = which ? cell.learner[1] : cell.learner[0], image = which ? cell.image[1] : cell.image[0];
    return {{(void*)(s + v * learner + n * image), false}, H, W, nullptr, nullptr};
}

// State j: an input, or its preprocessing before its norm, or a node.
__forceinline__ Planes state_of(const CellView& cell, int j, int v, int n) {
    const long long image = (long long)v * cell.N + n;
    const bool node = j >= 2, normed = !node && cell.preprocess;
    Planes planes = input_of(cell, j, v, n, cell.H, cell.W);
    if (node) planes.first.data = cell.out + (image * cell.nodes + j - 2) * cell.C * cell.pixels();
    if (normed) planes.first.data = cell.states + (image * 2 + j) * cell.C * cell.H * cell.W;
    planes.H = node ? cell.out_H : cell.H;
    planes.W = node ? cell.out_W : cell.W;
    const int norm = j ? cell.state_norm[1] : cell.state_norm[0];
    planes.mean = normed ? cell.mean(v) + norm : nullptr;
    planes.scale = normed ? cell.scale(v) + norm : nullptr;
    return planes;
}

// A ReLU's pattern: a bit a pixel, rows of whole bytes; a channel's rows follow the one before.
__forceinline__ int mask_bytes(int W) { return (W + 7) / 8; }

__forceinline__ bool mask_at(const unsigned char* mask, int channel, int H, int W, int y, int x) {
    return mask[((long long)channel * H + y) * mask_bytes(W) + x / 8] >> x % 8 & 1;
}

// NaN is let through, as by the library's ReLU.
__forceinline__ bool is_open(float x) { return !(x <= 0); }

__forceinline__ void record_mask(const Planes& from, int channels, const OctetTiling& octets, unsigned char* mask) {
    const int count = channels * from.H * octets.in_row;
    for (int i = threadIdx.x; i < count; i += CELL_THREADS) {
        const int channel = octets.plane(i), y = octets.y(i), first = octets.x(i);
        unsigned byte = 0;
        for (int x = first; x < from.W && x < first + 8; x++)
            byte |= (unsigned)is_open(from.pixel(channel, y * from.W + x)) << (x - first);
        mask[i] = (unsigned char)byte;
    }
}

// The byte that has the bits of four pixels of a row from x on, and those.
__forceinline__ unsigned char mask_byte(const unsigned char* mask, int channel, int H, int W, int y, int x) {
    return mask[((long long)channel * H + y) * mask_bytes(W) + x / 8];
}
__forceinline__ unsigned bits_of(unsigned char byte, int x) { return byte >> x % 8 & 15; }

__forceinline__ unsigned mask_quad(const unsigned char* mask, int channel, int H, int W, int y, int x) {
    return bits_of(mask_byte(mask, channel, H, W, y, x), x);
}

__forceinline__ float4 masked(const float4& x, unsigned bits) {
    return make_float4(bits & 1 ? x.x : 0, bits & 2 ? x.y : 0, bits & 4 ? x.z : 0, bits & 8 ? x.w : 0);
}

// Four pixels of a row from x on after their ReLU, 0 past its end.
__forceinline__ float4 activated_quad(const Planes& from, const unsigned char* mask, bool replay, int channel, int y,
                                      int x) {
    const float4 four = from.quad(channel, y, x);
    if (replay) return masked(four, mask_quad(mask, channel, from.H, from.W, y, x));
    return masked(four, is_open(four.x) | is_open(four.y) << 1 | is_open(four.z) << 2 | is_open(four.w) << 3);
}

// A pixel after its ReLU.
__forceinline__ float activated(const Planes& from, const unsigned char* mask, bool replay, int channel, int y, int x) {
    const float value = from.pixel(channel, y * from.W + x);
    const bool on = replay ? mask_at(mask, channel, from.H, from.W, y, x) : is_open(value);
    return on ? value : 0.0f;
}

// Of this thread in a tiling: which quad, which channel of those at a time.
__forceinline__ int tile_lane(const Tiling& tiling) { return (int)threadIdx.x % tiling.lanes; }
__forceinline__ int tile_group(const Tiling& tiling) { return (int)threadIdx.x / tiling.lanes; }

// Calls add(y, x) for the quads of a plane, a lane of a warp after the other.
template <class Add> __forceinline__ void each_quad(const Tiling& tiling, const Add& add) {
    for (int q = lane(); q < tiling.quads; q += WARP) add(tiling.y(q), tiling.x(q));
}

// True in the last of `count` blocks that count themselves here; it sees what the others wrote before. All threads
// of the block must come.
__forceinline__ bool is_last_block(unsigned* arrival, unsigned count) {
    SHARED(int, last, 1);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last[0] = atomicAdd(arrival, 1u) == count - 1;
    __syncthreads();
    const bool mine = last[0];
    __syncthreads();
    if (mine) __threadfence();
    return mine;
}

constexpr int GROUP_PARTS = 2 * CELL_WARPS;  // floats of shared memory that sum_groups needs for a number of a thread

// Adds N numbers of each thread over the lanes of its group that are in its warp, and that to `parts`, in shared memory. After a
// barrier total_of_group finds the sums. A block.
template <int N> __forceinline__ void sum_groups(const Tiling& tiling, float (&mine)[N], float* parts) {
    const PowerOfTwo span = tiling.span();
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        if (step >= span) continue;
#pragma unroll
        for (int i = 0; i < N; i++) mine[i] += __shfl_xor_sync(WHOLE_WARP, mine[i], step);
    }
    if (lane() % span != 0) return;
#pragma unroll
    for (int i = 0; i < N; i++) parts[(int)threadIdx.x / span * N + i] += mine[i];
}

// The sum over a group's threads of their number i of N.
template <int N> __forceinline__ float total_of_group(const Tiling& tiling, const float* parts, int group, int i) {
    const int count = parts_of(tiling.lanes);
    float total = 0;
    for (int k = 0; k < count; k++) total += parts[(group * count + k) * N + i];
    return total;
}

}  // namespace sgl_fast
