// Crop, flip, normalise, cut out. A thread takes a pixel of an image, all channels.
#include "device.cuh"

namespace sgl_fast {

// images (M, C, H, W), `image` and `channel` pixels from one to the next; draws (N, 6) [index, dy, dx, flip, cy, cx],
// levels (C, 256), out (N, C, H, W). An image a blockIdx.x; all NaN where its index is none of the M.
KERNEL __launch_bounds__(AUGMENT_THREADS)
    augment_kernel(long long M, int C, int H, int W, int crop, int cutout, long long image, long long channel,
                   const unsigned char* images, const long long* draws, const float* levels, float* out) {
    const int pixels = H * W, i = blockIdx.y * AUGMENT_THREADS + threadIdx.x;
    if (i >= pixels) return;
    const long long* draw = draws + 6LL * blockIdx.x;
    const int y = i / W, x = i % W, top = (int)draw[4] - cutout / 2, left = (int)draw[5] - cutout / 2;
    const bool cut = y >= top && y < top + cutout && x >= left && x < left + cutout;
    const int row = y + (int)draw[1] - crop, column = (draw[3] ? W - 1 - x : x) + (int)draw[2] - crop;
    const bool known = draw[0] >= 0 && draw[0] < M;
    const bool inside = known && row >= 0 && row < H && column >= 0 && column < W;
    const unsigned char* from = images + draw[0] * image + (row * W + column);
    float* to = out + (long long)blockIdx.x * C * pixels + i;
    for (int c = 0; c < C; c++) {
        const int pixel = inside ? from[c * channel] : 0;
        to[(long long)c * pixels] = !known ? nanf("") : cut ? 0.0f : levels[c * 256 + pixel];
    }
}

}  // namespace sgl_fast
