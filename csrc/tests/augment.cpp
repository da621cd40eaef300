// augment.h against its definition, on odd sizes, windows and squares at every border.

#include "../augment.h"

#include "check.h"

using namespace sgl_fast;

static int64_t draw(int64_t below) { return std::uniform_int_distribution<int64_t>(0, below - 1)(engine); }

// A pixel of the padded image.
static int pixel(const Augmentation& how, const uint8_t* plane, int64_t y, int64_t x) {
    y -= how.crop;
    x -= how.crop;
    return y < 0 || y >= how.H || x < 0 || x >= how.W ? 0 : plane[y * how.W + x];
}

template <class Queue> static void check(const Augmentation& how, const Queue& queue) {
    const auto [M, N, C, H, W, crop, cutout, image, channel] = how;
    std::vector<uint8_t> images((M - 1) * image + (C - 1) * channel + H * W);
    for (uint8_t& one : images) one = static_cast<uint8_t>(1 + draw(255));
    const Floats levels = normal(C * 256);
    std::vector<int64_t> draws;
    for (int64_t n = 0; n < N; n++)
        for (int64_t below : {M, 2 * crop + 1, 2 * crop + 1, int64_t{2}, H, W}) draws.push_back(draw(below));
    draws.shrink_to_fit();
    Floats out(N * C * H * W);
    augment(queue, how, images.data(), draws.data(), levels.data(), out.data());
    std::vector<double> want;
    for (int64_t n = 0; n < N; n++)
        for (int64_t i = 0; i < C * H * W; i++) {
            const int64_t* d = &draws[n * 6];
            const int64_t c = i / (H * W), y = i / W % H, x = i % W;
            const uint8_t* plane = &images[d[0] * image + c * channel];
            const int64_t down = y - (d[4] - cutout / 2), right = x - (d[5] - cutout / 2);
            const bool cut = down >= 0 && down < cutout && right >= 0 && right < cutout;
            want.push_back(cut ? 0 : levels[c * 256 + pixel(how, plane, y + d[1], (d[3] ? W - 1 - x : x) + d[2])]);
        }
    close("batch", out, want);
}

int main() {
    return each_way([] {
        if (brief) return check({3, 2, 3, 5, 7, 2, 4, 105, 35}, queue(1));
        for (int64_t side : {1, 2, 7, 16, 33})
            for (int64_t crop : {0, 1, 4})
                for (int64_t cutout : {0, 1, 4, 5}) {
                    const int64_t W = side + crop, plane = side * W;
                    check({3, 5, 3, side, W, crop, cutout, 3 * plane, plane}, queue(1));
                    check({3, 5, 3, side, W, crop, cutout, plane, 0}, queue(1));
                }
        check({2, 9, 1, 40, 56, 3, 16, 2240, 2240}, queue(3));
    });
}
