// Gradients of the operations' weights (softmax of alpha) and of the edges' (softmax of beta), from the sums of dy * normalised z.
#include "bn_backward.cuh"

namespace sgl_fast {

__forceinline__ double dots_of(const CellView& cell, const GradView& g, int v, int norm) {
    double total = 0;
    for (int c = 0; c < cell.M; c++) total += g.dot[v * cell.norms + norm + c];
    return total;
}

// A block a learner, a thread an edge.
KERNEL __launch_bounds__(MOST_CELL_EDGES)
    alpha_beta_grad_kernel(CellView cell, GradView g, const AlphaBetaJob* __restrict__ job, float* op_weights,
                           float* edge_weights) {
    const int v = blockIdx.x, e = threadIdx.x;
    if (e >= cell.edges) return;
    const AlphaBetaEdge& edge = job->edge[e];
    const float whole = cell.edge_weight(v, e);
    float* ops = op_weights + ((long long)v * cell.edges + e) * cell.ops_per_edge;
    for (int o = 0; o < cell.ops_per_edge; o++) ops[o] = 0;
    const double skips = g.skip[v * cell.edges + e];
    double total = g.bypass[v * cell.edges + e];
    for (int t = 0; t < edge.terms; t++) {
        const int op = edge.term[t].op, norm = edge.term[t].norm;
        const double dot = norm == NO_NORM ? skips : dots_of(cell, g, v, norm);
        if (op >= 0) ops[op] = (float)(whole * dot);
        total += dot * cell.op_weight(v, e, op);
    }
    if (edge_weights) edge_weights[v * cell.edges + e] = (float)total;
}

}  // namespace sgl_fast
