#include "convolution.h"

#include <algorithm>

#include "blocks.h"
#include "kernels.h"
#include "shares.h"

namespace sgl_fast {
namespace {

// Calls body(image, group, room) for each group of each image.
template <class Body> void each_group(const Pool& pool, const Convolution& s, const Body& body) {
    const size_t floats = kernels().convolution_room(s);
    split(pool, s.N * s.groups, 1, [&](int64_t begin, int64_t end) {
        const Block room(floats);
        for (int64_t i = begin; i < end; ++i) body(i / s.groups, i % s.groups, room.memory);
    });
}

// Floats of one group of an image, of the outputs of it, of the weights.
size_t in_floats(const Convolution& s) { return s.ins * s.H * s.W; }
size_t out_floats(const Convolution& s) { return s.outs * s.pixels(); }
size_t weight_floats(const Convolution& s) { return s.outs * s.columns(); }

}  // namespace

void convolution(const Pool& pool, const Convolution& s, const float* x, const float* weights, float* out) {
    const auto convolve = kernels().convolve;
    each_group(pool, s, [&](int64_t n, int64_t g, float* room) {
        const int64_t i = n * s.groups + g;
        convolve(s, x + i * in_floats(s), weights + g * weight_floats(s), room, out + i * out_floats(s));
    });
}

void convolution_input(const Pool& pool, const Convolution& s, const float* grad, const float* weights, float* dx) {
    const auto convolve_input = kernels().convolve_input;
    each_group(pool, s, [&](int64_t n, int64_t g, float* room) {
        const int64_t i = n * s.groups + g;
        convolve_input(s, grad + i * out_floats(s), weights + g * weight_floats(s), room, dx + i * in_floats(s));
    });
}

void convolution_weight(const Pool& pool, const Convolution& s, const float* grad, const float* x, float* dw) {
    const auto convolve_weight = kernels().convolve_weight;
    const int64_t together = images_of_share(s.N, s.pixels()), count = (s.N + together - 1) / together;
    const size_t P = weight_floats(s);
    const Block shares(s.groups * count * P);
    const size_t floats = kernels().convolution_room(s);
    split(pool, s.groups * count, 1, [&](int64_t begin, int64_t end) {
        const Block room(floats);
        for (int64_t share = begin; share < end; ++share) {
            const int64_t g = share / count, first = share % count * together;
            float* sum = shares.memory + share * P;
            std::fill(sum, sum + P, 0.0f);
            for (int64_t n = first; n < std::min(first + together, s.N); ++n) {
                const int64_t i = n * s.groups + g;
                convolve_weight(s, grad + i * out_floats(s), x + i * in_floats(s), room.memory, sum);
            }
        }
    });
    add_shares(pool, static_cast<int>(s.groups), static_cast<int>(count), P, shares.memory, dw);
}

}  // namespace sgl_fast
