#include "../skip_dropout.h"

#include "skip_dropout.cuh"
#include "launch.h"

namespace sgl_fast {

void dropout_masks(const Stream& stream, int64_t masks, int64_t V, int64_t P, uint32_t first, uint32_t threshold,
                   const int64_t* seeds, uint8_t* kept) {
    const dim3 grid(blocks_for(P, DROPOUT_PART), static_cast<unsigned>(V), static_cast<unsigned>(masks));
    LAUNCH(dropout_masks_kernel, grid, DROPOUT_THREADS, 0, stream, P, first, threshold,
           reinterpret_cast<const long long*>(seeds), kept);
}

}  // namespace sgl_fast
