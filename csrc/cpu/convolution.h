// Dense convolutions of N images, square kernels of odd size, zeros around the image, float32 and contiguous: what a
// network has outside its cells. Every sum is taken in one order, on any number of threads.
#pragma once

#include <cstdint>

namespace sgl_fast {

struct Pool;  // pool.h

struct Convolution {
    int64_t N, groups, ins, outs;  // ins and outs: channels of one group
    int64_t kernel, stride, H, W;  // of an input

    int64_t out_H() const { return (H - 1) / stride + 1; }
    int64_t out_W() const { return (W - 1) / stride + 1; }
    int64_t pixels() const { return out_H() * out_W(); }
    int64_t columns() const { return ins * kernel * kernel; }
};

// x (N, groups * ins, H, W), weights (groups * outs, ins, kernel, kernel) -> out (N, groups * outs, out_H, out_W)
void convolution(const Pool& pool, const Convolution& shape, const float* x, const float* weights, float* out);

// The gradients in x and in the weights, from grad, that of the output.
void convolution_input(const Pool& pool, const Convolution& shape, const float* grad, const float* weights, float* dx);
void convolution_weight(const Pool& pool, const Convolution& shape, const float* grad, const float* x, float* dw);

}  // namespace sgl_fast
