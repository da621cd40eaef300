#include "../augment.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "pool.h"

namespace sgl_fast {
namespace {

constexpr int64_t grain = 16384;  // pixels below which another thread costs more than it saves

// One image. columns (W): which column of the image each output column shows; outside [0, W) the padding.
void augment_image(const Augmentation& how, const uint8_t* image, const int64_t* draw, const int64_t* columns,
                   const float* levels, float* out) {
    const int64_t W = how.W, top = draw[4] - how.cutout / 2, left = draw[5] - how.cutout / 2;
    const int64_t first = std::clamp<int64_t>(left, 0, W), end = std::clamp<int64_t>(left + how.cutout, 0, W);
    for (int64_t c = 0; c < how.C; c++) {
        const float* level = levels + c * 256;
        for (int64_t y = 0; y < how.H; y++, out += W) {
            const int64_t row = y + draw[1] - how.crop;
            const bool in_rows = row >= 0 && row < how.H;
            const uint8_t* pixels = image + (in_rows ? c * how.channel_stride + row * W : 0);
            for (int64_t x = 0; x < W; x++) {
                const bool in_image = in_rows && columns[x] >= 0 && columns[x] < W;
                out[x] = level[in_image ? pixels[columns[x]] : 0];
            }
            if (y >= top && y < top + how.cutout) std::fill(out + first, out + end, 0.0f);
        }
    }
}

}  // namespace

void augment(const Pool& pool, const Augmentation& how, const uint8_t* images, const int64_t* draws,
             const float* levels, float* out) {
    const int64_t W = how.W, size = how.C * how.H * W;
    split(pool, how.N, 1 + grain / size, [&](int64_t begin, int64_t end) {
        std::vector<int64_t> columns(W);
        for (int64_t n = begin; n < end; ++n) {
            const int64_t* draw = draws + n * 6;
            if (draw[0] < 0 || draw[0] >= how.M) {
                std::fill_n(out + n * size, size, std::numeric_limits<float>::quiet_NaN());
                continue;
            }
            for (int64_t x = 0; x < W; x++) columns[x] = (draw[3] ? W - 1 - x : x) + draw[2] - how.crop;
            augment_image(how, images + draw[0] * how.image_stride, draw, columns.data(), levels, out + n * size);
        }
    });
}

}  // namespace sgl_fast
