#pragma once

#include <cstdint>

#include "pool.h"

// Crop, flip, normalise, cut out: a batch from images that are all in memory.
namespace sgl_fast {

struct Augmentation {
    int64_t M, N, C, H, W;
    int64_t crop;    // zeros around an image before the window is cut, in pixels
    int64_t cutout;  // side of the square of zeros, in pixels; 0 for none
    int64_t image, channel;  // from one image, and from one channel, to the next: 0 where all are one memory
};

// out (N, C, H, W): the window of image draws[n][0] at (draws[n][1], draws[n][2]) of the padded image, mirrored where
// draws[n][3], by levels (C, 256), which has the value of each pixel; 0 in the square around (draws[n][4], draws[n][5]).
// images (M, C, H, W), each plane dense; draws (N, 6); an image whose first
// draw is not in [0, M) is all NaN.
void augment(const Pool& pool, const Augmentation& how, const uint8_t* images, const int64_t* draws, const float* levels,
             float* out);

}  // namespace sgl_fast
