#include "convolve.cuh"

namespace sgl_fast {

template <int R> __forceinline__ void convolve_block(const CellView& cell, const ConvJobs& jobs) {
    SHARED_DYNAMIC(float, shared);
    const int image = blockIdx.y;
    if ((int)blockIdx.x >= jobs.groups)
        return pool(cell, jobs.pools.job[blockIdx.x - jobs.groups], image, jobs.room, shared);
    const JobGroup& group = jobs.group[blockIdx.x];
    for (int j = 0; j < group.count; j++) convolve<R>(cell, jobs.job[group.first + j], image, j == 0, shared);
}

KERNEL __launch_bounds__(CELL_THREADS, 2) convolve_kernel_1(CellView cell, const ConvJobs* __restrict__ jobs) {
    convolve_block<1>(cell, *jobs);
}
KERNEL __launch_bounds__(CELL_THREADS, 2) convolve_kernel_2(CellView cell, const ConvJobs* __restrict__ jobs) {
    convolve_block<2>(cell, *jobs);
}
KERNEL __launch_bounds__(CELL_THREADS, 2) convolve_kernel_4(CellView cell, const ConvJobs* __restrict__ jobs) {
    convolve_block<4>(cell, *jobs);
}
KERNEL __launch_bounds__(CELL_THREADS, 2) convolve_kernel_8(CellView cell, const ConvJobs* __restrict__ jobs) {
    convolve_block<8>(cell, *jobs);
}

}  // namespace sgl_fast
