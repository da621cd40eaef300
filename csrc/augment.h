// Crop, flip, normalise, cut out: a batch from images that are all in memory. Free of torch, as every header here.
#pragma once

#include <cstdint>

namespace sgl_fast {

struct Pool;    // cpu/pool.h
struct Stream;  // cuda/launch.h

struct Augmentation {
    int64_t M, N, C, H, W;
    int64_t crop;                          // zeros around an image before the window is cut, in pixels
    int64_t cutout;                        // side of the square of zeros, in pixels; 0 for none
    int64_t image_stride, channel_stride;  // in bytes; 0 where all images, or channels, are one memory
};

// images (M, C, H, W), each plane dense; draws (N, 6); levels (C, 256), the value of each pixel -> out (N, C, H, W).
// Output n is the H x W window at row draws[n][1] and column draws[n][2] of image draws[n][0], padded; mirrored where
// draws[n][3]; 0 in the square around row draws[n][4] and column draws[n][5]. An image whose draws[n][0] is not in
// [0, M) is all NaN. CPU and CUDA give the same bits.
void augment(const Pool& pool, const Augmentation& how, const uint8_t* images, const int64_t* draws,
             const float* levels, float* out);
void augment(const Stream& stream, const Augmentation& how, const uint8_t* images, const int64_t* draws,
             const float* levels, float* out);

}  // namespace sgl_fast
