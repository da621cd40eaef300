#include "convolution.h"

#include <algorithm>

#include "blocks.h"
#include "image_groups.h"
#include "kernels.h"
#include "pool.h"

namespace sgl_fast {
namespace {

// Calls body(image, group, scratch) for each group of channels of each image.
template <class Body> void each_group(const Pool& pool, const Convolution& s, const Body& body) {
    const size_t floats = kernels().convolution_scratch(s);
    split(pool, s.N * s.groups, 1, [&](int64_t begin, int64_t end) {
        const Block scratch(floats);
        for (int64_t i = begin; i < end; ++i) body(i / s.groups, i % s.groups, scratch.memory);
    });
}

// Floats of one group of channels: of an image, of its outputs, of the weights.
size_t in_floats(const Convolution& s) { return s.ins * s.H * s.W; }
size_t out_floats(const Convolution& s) { return s.outs * s.pixels(); }
size_t weight_floats(const Convolution& s) { return s.outs * s.columns(); }

}  // namespace

void convolution(const Pool& pool, const Convolution& s, const float* x, const float* weights, float* out) {
    const auto convolve = kernels().convolve;
    each_group(pool, s, [&](int64_t n, int64_t g, float* scratch) {
        const int64_t i = n * s.groups + g;
        convolve(s, x + i * in_floats(s), weights + g * weight_floats(s), scratch, out + i * out_floats(s));
    });
}

void convolution_input(const Pool& pool, const Convolution& s, const float* grad, const float* weights, float* dx) {
    const auto convolve_input = kernels().convolve_input;
    each_group(pool, s, [&](int64_t n, int64_t g, float* scratch) {
        const int64_t i = n * s.groups + g;
        convolve_input(s, grad + i * out_floats(s), weights + g * weight_floats(s), scratch, dx + i * in_floats(s));
    });
}

void convolution_weight(const Pool& pool, const Convolution& s, const float* grad, const float* x, float* dw) {
    const auto convolve_weight = kernels().convolve_weight;
    // Image groups, beside the groups of channels.
    const int64_t size = images_per_group(s.N, s.pixels()), count = (s.N + size - 1) / size;
    const size_t P = weight_floats(s);
    const Block sums(s.groups * count * P);
    const size_t floats = kernels().convolution_scratch(s);
    split(pool, s.groups * count, 1, [&](int64_t begin, int64_t end) {
        const Block scratch(floats);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t g = i / count, first = i % count * size;
            float* sum = sums.memory + i * P;
            std::fill(sum, sum + P, 0.0f);
            for (int64_t n = first; n < std::min(first + size, s.N); ++n) {
                const int64_t image = n * s.groups + g;
                convolve_weight(s, grad + image * out_floats(s), x + image * in_floats(s), scratch.memory, sum);
            }
        }
    });
    sum_groups(pool, static_cast<int>(s.groups), static_cast<int>(count), P, sums.memory, dw);
}

}  // namespace sgl_fast
