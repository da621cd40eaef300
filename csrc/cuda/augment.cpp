#include "../augment.h"

#include "kernels.h"
#include "launch.h"

namespace sgl_fast {

void augment(const Stream& stream, const Augmentation& how, const uint8_t* images, const int64_t* draws,
             const float* levels, float* out) {
    const int C = static_cast<int>(how.C), H = static_cast<int>(how.H), W = static_cast<int>(how.W);
    const Grid grid{unsigned(how.N), blocks_for(how.H * how.W, AUGMENT_THREADS)};
    LAUNCH(augment_kernel, stream, grid, AUGMENT_THREADS, 0, how.M, C, H, W, static_cast<int>(how.crop),
           static_cast<int>(how.cutout), how.image_stride, how.channel_stride, images,
           reinterpret_cast<const long long*>(draws), levels, out);
}

}  // namespace sgl_fast
