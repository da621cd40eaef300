#include "bn_backward.cuh"

namespace sgl_fast {

// channels: of a block
KERNEL __launch_bounds__(CELL_THREADS, 4) node_sums_kernel(CellView cell, GradView g, NodeJob job, int channels) {
    node_sums(cell, g, job, blockIdx.x, {(int)blockIdx.y, (int)gridDim.y, channels});
}

}  // namespace sgl_fast
