#include "combine.cuh"

namespace sgl_fast {

// Four pixels of a bypassing channel, along two edges from e on, or one.
__forceinline__ float4 bypassed(const CellView& cell, const NodeJob& job, int e, int image, int channel, int y, int x) {
    const InEdge &first = job.edge[e], &second = job.edge[e + 1 < job.edges ? e + 1 : e];
    const Planes a = bypass_of(cell, first, image, channel), b = bypass_of(cell, second, image, channel);
    const float one = cell.edge_weight(image / cell.N, first.edge),
                two = &second != &first ? cell.edge_weight(image / cell.N, second.edge) : 0;
    const float4 four = read_quad(a.first + y * a.W, x, a.W), other = read_quad(b.first + y * b.W, x, b.W);
    float4 total = one * a.normed(four, 0, x);
    total += two * b.normed(other, 0, x);
    return total;
}

// Writes quad i of a node's, counted channel by channel; its place is found anew: what it adds up needs the registers.
__forceinline__ void write_sum(const CellView& cell, int node, int image, int i, const float4& sum) {
    const Tiling& tiling = cell.tiling;
    const int c = i / tiling.quads, q = i % tiling.quads;
    float* to = cell.out + (((long long)image * cell.nodes + node) * cell.C + c) * cell.pixels();
    write_quad(to + tiling.y(q) * cell.out_W, tiling.x(q), cell.out_W, sum);
}

// Blocks of a multiprocessor: as many as the compiler finds registers for without a stack.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int COMBINE_BLOCKS = 3;
#else
constexpr int COMBINE_BLOCKS = 4;
#endif

KERNEL __launch_bounds__(CELL_THREADS, COMBINE_BLOCKS) combine_kernel(CellView cell, NodeJob job) {
    const int image = blockIdx.x;
    const Tiling& tiling = cell.tiling;
    for (int i = blockIdx.y * CELL_THREADS + threadIdx.x; i < cell.C * tiling.quads; i += gridDim.y * CELL_THREADS) {
        const int q = i % tiling.quads, y = tiling.y(q), x = tiling.x(q);
        const Channel channel(cell, i / tiling.quads);
        float4 sum = make_float4(0, 0, 0, 0);
        if (channel.bypasses)
            for (int e = 0; e < job.edges; e += 2) sum += bypassed(cell, job, e, image, channel.at, y, x);
        else
            for (int e = 0; e < job.edges; e++) sum += mixed(cell, job.edge[e], image, channel.at, y, x);
        write_sum(cell, job.node, anew(image), anew(i), sum);
    }
}

// In evaluation the running statistics are the norms': mean and variance are given, the scale is missing.
KERNEL __launch_bounds__(CELL_THREADS) evaluation_kernel(CellView cell) {
    float* stats = cell.stats + (long long)blockIdx.x * 3 * cell.norms;
    for (int c = threadIdx.x; c < cell.measured; c += CELL_THREADS)
        stats[cell.norms + c] = (float)(1 / sqrt((double)stats[2 * cell.norms + c] + EPS));
}

}  // namespace sgl_fast
