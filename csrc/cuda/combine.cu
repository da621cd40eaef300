#include "combine.cuh"

namespace sgl_fast {

KERNEL __launch_bounds__(CELL_THREADS, 5) combine_kernel(CellView cell, NodeJob job) {
    const int image = blockIdx.x, v = image / cell.N;
    const Tiling& tiling = cell.tiling;
    float* to = cell.out + ((long long)image * cell.nodes + job.node) * cell.C * cell.pixels();
    for (int i = blockIdx.y * CELL_THREADS + threadIdx.x; i < cell.C * tiling.quads; i += gridDim.y * CELL_THREADS) {
        const int c = i / tiling.quads, q = i % tiling.quads, y = tiling.y(q), x = tiling.x(q);
        const Channel channel(cell, c);
        float4 total = make_float4(0, 0, 0, 0);
        for (int e = 0; e < job.edges; e++) {
            const InEdge& edge = job.edge[e];
            total += channel.bypasses
                         ? cell.edge_weight(v, edge.edge) * bypass_of(cell, edge, image, channel.at).quad(0, y, x)
                         : mixed(cell, edge, image, channel.at, y, x);
        }
        write_quad(to + ((long long)anew(c) * cell.out_H + y) * cell.out_W, x, cell.out_W, total);
    }
}

// In evaluation the running statistics are the norms': mean and variance are given, the scale is missing.
KERNEL __launch_bounds__(CELL_THREADS) evaluation_kernel(CellView cell) {
    float* stats = cell.stats + (long long)blockIdx.x * 3 * cell.norms;
    for (int c = threadIdx.x; c < cell.measured; c += CELL_THREADS)
        stats[cell.norms + c] = (float)(1 / sqrt((double)stats[2 * cell.norms + c] + EPS));
}

}  // namespace sgl_fast
