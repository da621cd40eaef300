#include "bn_backward.cuh"

namespace sgl_fast {

KERNEL __launch_bounds__(CELL_THREADS, 3) node_sums_kernel(CellView cell, GradView g, NodeJob job) {
    node_sums(cell, g, job, blockIdx.x);
}

}  // namespace sgl_fast
