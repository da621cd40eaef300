#include "../skip_dropout.h"

#include "kernels.h"
#include "launch.h"

namespace sgl_fast {

void dropout_masks(const Stream& stream, int64_t masks, int64_t V, int64_t P, uint32_t first,
                   const int32_t* threshold, const int64_t* seeds, uint8_t* kept) {
    const Grid grid{blocks_for(P, DROPOUT_PART), unsigned(V), unsigned(masks)};
    LAUNCH(dropout_masks_kernel, stream, grid, DROPOUT_THREADS, 0, P, first, threshold,
           reinterpret_cast<const long long*>(seeds), kept);
}

}  // namespace sgl_fast
