// Gradients of weights: a block's images, and the sums of a depthwise convolution's taps.
#pragma once

#include "bn_backward.cuh"
#include "convolve.cuh"

namespace sgl_fast {

// Some of a learner's images, and a chunk of a convolution's input channels.
struct WgradPart {
    int v, first, end;  // images
    int c0, count;      // channels
};

// Of this thread in its block, found anew each time, and not kept in a register. Then as in device.cuh and cell.cuh.
__forceinline__ int thread() {
#ifdef CUDASIM
    return threadIdx.x;
#else
    int x;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
    return x;
#endif
}
__forceinline__ int lane_of_warp() { return thread() % WARP; }
__forceinline__ int this_warp() { return thread() / WARP; }
__forceinline__ int lane_of(const Tiling& tiling) { return thread() % tiling.lanes; }
__forceinline__ int group_of(const Tiling& tiling) { return thread() / tiling.lanes; }

// What was read from memory is read again: it is not kept in registers from before.
__forceinline__ void forget() { asm volatile("" ::: "memory"); }

// As read_quads of device.cuh, where rows do not start at multiples of 16 bytes; one quad after the other, for want of
// registers.
template <int N> __forceinline__ void read_each(const StoragePtr& from, int (&at)[N], int left, float4 (&to)[N]) {
#pragma unroll 1
    for (int turn = 0; turn < N; turn++) {
        const int only[1] = {at[0]};
        float4 four[1];
        read_quads(from, only, left, false, four);
#pragma unroll
        for (int i = 1; i < N; i++) {
            at[i - 1] = at[i];
            to[i - 1] = to[i];
        }
        to[N - 1] = four[0];
    }
}

// Where planes of an image lie. Of pointers in shared memory the compiler does not know where they point.
struct WgradImage {
    GradZPlanes grad_z;
    Planes planes;
    const unsigned char* relu_mask;

    float4 normed(const float4& four, int channel, int x) const {
        if (!planes.mean) return four;
        const float m = global(planes.mean)[channel], s = global(planes.scale)[channel];
        return within(make_float4((four.x - m) * s, (four.y - m) * s, (four.z - m) * s, (four.w - m) * s), x, planes.W);
    }
    // The pattern of the eight pixels in a row of which x is one.
    unsigned open_byte(int channel, int y, int x) const {
        return global(relu_mask)[(channel * planes.H + y) * mask_bytes(planes.W) + x / 8];
    }
    // Of N channels four pixels of a row from x on, as far as their recorded ReLU is open.
    template <int N> void read(const int (&channel)[N], int y, int x, float4 (&to)[N]) const {
        int at[N];
        unsigned bits[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            at[i] = (channel[i] * planes.H + y) * planes.W + x;
            bits[i] = open_byte(channel[i], y, x) >> x % 8;
        }
        if (planes.W % 4 == 0)
            read_quads(planes.first, at, 4, true, to);
        else
            read_each(planes.first, at, planes.W - x, to);
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = masked(normed(to[i], channel[i], x), bits[i]);
    }
    // grad z of N channels, first, first + by and so on; past the last one again that one.
    template <int N>
    void read_grad_z(const BnFactors* factors, int first, int by, int last, int y, int x, int W,
                     float4 (&to)[N]) const {
        int channel[N], at[N];
        float4 z[N];
#pragma unroll
        for (int i = 0; i < N; i++) channel[i] = first + i * by < last ? first + i * by : last;
#pragma unroll
        for (int i = 0; i < N; i++) at[i] = channel[i] * grad_z.dy_step + y * W + x;
        const StoragePtr dy{(void*)grad_z.dy, false};
        if (W % 4 == 0)
            read_quads(dy, at, 4, true, to);
        else
            read_each(dy, at, W - x, to);
#pragma unroll
        for (int i = 0; i < N; i++) at[i] = channel[i] * grad_z.z_step + y * W + x;
        if (W % 4 == 0)
            read_quads(grad_z.z, at, 4, true, z);
        else
            read_each(grad_z.z, at, W - x, z);
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = GradZPlanes::quad(factors[channel[i]], to[i], z[i], x, W);
    }
    // What a 1x1 convolution alone reads for four neighbouring outputs; with stride 2, of one row of eight pixels.
    float4 pointwise_in(const ConvJob& conv, int channel, int y, int x) const {
        const int only[1] = {channel}, row = conv.stride * y + conv.first, column = conv.stride * x;
        float4 four[1];
        if (conv.stride == 1) {
            read(only, y, x, four);
            return four[0];
        }
        const int first = (channel * planes.H + row) * planes.W + column;
        const unsigned bits = open_byte(channel, row, column) >> conv.first;
        const int last = planes.W - 1 - column;
        int at[4];
#pragma unroll
        for (int e = 0; e < 4; e++) at[e] = first + (2 * e + conv.first < last ? 2 * e + conv.first : last);
        read_pixels(planes.first, at, four[0]);
        four[0] = masked(normed(four[0], channel, 0), (bits & 1) | (bits >> 1 & 2) | (bits >> 2 & 4) | (bits >> 3 & 8));
        return within(four[0], x, conv.out_W);
    }

  private:
    static void read_pixels(const StoragePtr& from, const int (&at)[4], float4& to) {
        if (from.half) {
            const unsigned short* data = global((const unsigned short*)from.data);
            const unsigned short a = data[at[0]], b = data[at[1]], c = data[at[2]], d = data[at[3]];
            to = make_float4(half_to_float(a), half_to_float(b), half_to_float(c), half_to_float(d));
        } else {
            const float* data = global((const float*)from.data);
            to = make_float4(data[at[0]], data[at[1]], data[at[2]], data[at[3]]);
        }
    }
};

// What is the same for all threads of a block, in static shared memory, where it costs no registers: its job, its part of it,
// and of two images where their planes lie, of that which is at work and of the next one.
struct WgradBlock {
    static constexpr int PART = (sizeof(WgradJob) + 15) / 16, IMAGES = PART + (sizeof(WgradPart) + 15) / 16,
                         QUADS = IMAGES + 2 * sizeof(WgradImage) / 16;
    float4* at;

    const WgradJob& job() const { return *(const WgradJob*)at; }
    const WgradPart& part() const { return *(const WgradPart*)(at + PART); }
    const WgradImage& image(int image) const { return ((const WgradImage*)(at + IMAGES))[image % 2]; }

    // A block, which then waits.
    void put_job(const WgradJobs& jobs, int N, const Divisor& groups) const {
        const WgradChunk of = jobs.chunk[blockIdx.z];
        const WgradJob* from = jobs.job + of.job;
        static_assert(sizeof(WgradJob) % sizeof(int) == 0 && sizeof(WgradJob) / sizeof(int) < CELL_THREADS,
                      "a thread copies a word");
        const int mine = thread();
        if (mine < (int)(sizeof(WgradJob) / sizeof(int))) ((int*)at)[mine] = ((const int*)from)[mine];
        if (mine != CELL_THREADS - 1) return;
        const int v = (int)blockIdx.y / groups, group = (int)blockIdx.y - v * groups, chunk = from->conv.chunk,
                  c0 = of.number * chunk, left = from->conv.ins - c0;
        *(WgradPart*)(at + PART) = {v, v * N + N * group / groups, v * N + N * (group + 1) / groups, c0,
                                    left < chunk ? left : chunk};
    }
    // Two threads, of different warps.
    void put_image(const CellView& cell, const GradView& g, int image) const {
        static_assert(sizeof(WgradImage) % 16 == 0, "images follow each other");
        WgradImage& to = ((WgradImage*)(at + IMAGES))[image % 2];
        const int mine = thread();
        if (mine == 0) to.grad_z = GradZPlanes(cell, g, job().grad_z, image);
        if (mine == WARP) {
            to.planes = planes_from(cell, job().conv, image / cell.N, image % cell.N);
            to.relu_mask = cell.pattern_of(image) + job().conv.relu_mask;
        }
    }
    // Waits, and starts to find the image after this one.
    void next(const CellView& cell, const GradView& g, int image) const {
        __syncthreads();
        if (anew(image) + 1 < part().end) put_image(cell, g, anew(image) + 1);
    }
};

constexpr int READS = 2;  // quads of a thread on their way from memory at a time

// Rows first .. first + rows - 1 of the block's channels, as far as their recorded ReLU is open, into planes with a border;
// rows that the image has not are 0. to: row `first`.
__forceinline__ void load_opened(const WgradBlock& block, const WgradImage& image, int first, int rows,
                                 const PaddedPlane& plane, float* to) {
    const Tiling& tiling = block.job().conv.in;
    for (int q = lane_of(tiling); q < rows * tiling.quads_in_row; q += tiling.lanes) {
        for (int i0 = group_of(tiling); i0 < block.part().count; i0 += READS * tiling.groups) {
            forget();
            const int y = first + tiling.y(q), x = tiling.x(q), last = block.part().count - 1;
            const bool inside = y >= 0 && y < image.planes.H;
            int channel[READS];
            float4 four[READS];
#pragma unroll
            for (int i = 0; i < READS; i++)
                channel[i] = block.part().c0 + (i0 + i * tiling.groups < last ? i0 + i * tiling.groups : last);
            image.read(channel, inside ? y : 0, x, four);
#pragma unroll
            for (int i = 0; i < READS; i++) {
                const int c = i0 + i * tiling.groups;
                if (c <= last)
                    *(float4*)(to + c * plane.floats + plane.at(y - first, x)) =
                        inside ? four[i] : make_float4(0, 0, 0, 0);
            }
        }
    }
}

// products[tap] += dz * what the tap reads, for four neighbouring outputs. at: a padded plane where the window of the first
// one starts. Threads share the K rows of taps, ROWS each but for the last: this is one's part.
template <int ROWS, int K, int D, int S, int N>
__forceinline__ void tap_products(int part, const float4& dz, const float* at, int row, float (&products)[N]) {
    constexpr int pad = pad_for(K / 2 * D), start = pad - K / 2 * D, width = 4 * S + 2 * pad;
    const float four[4] = {dz.x, dz.y, dz.z, dz.w};
    const int first = ROWS < K ? part * ROWS : 0;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        if (ROWS < K && first + i >= K) continue;  // not a break, for which some compilers move `products` to the stack
#pragma unroll
        for (int w = 0; w < width; w += 4) {
            float window[4];
            read_fours(at + (start + (first + i) * D) * row + w, window);
#pragma unroll
            for (int j = 0; j < K; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int from = start + S * e + j * D - w;
                    if (from >= 0 && from < 4) products[i * K + j] += four[e] * window[from];
                }
        }
    }
}

template <int ROWS, int K, int N>
__forceinline__ void tap_products(const ConvJob& job, int part, const float4& dz, const float* at, int row,
                                  float (&products)[N]) {
    static_assert(ROWS * K <= N, "a thread's taps");
    if (job.stride == 1 && job.dilation == 1)
        tap_products<ROWS, K, 1, 1>(part, dz, at, row, products);
    else if (job.stride == 1)
        tap_products<ROWS, K, 2, 1>(part, dz, at, row, products);
    else if (job.dilation == 1)
        tap_products<ROWS, K, 1, 2>(part, dz, at, row, products);
    else
        tap_products<ROWS, K, 2, 2>(part, dz, at, row, products);
}

}  // namespace sgl_fast
