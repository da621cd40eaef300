#pragma once

#include "../cpu/convolution.h"
#include "call.h"

namespace sgl_fast {

// The sizes of a convolution of x (N, groups * ins, H, W) by weight (groups * outs, ins, kernel, kernel).
inline Convolution convolution_shape(Sizes x, Sizes weight, int64_t stride, int64_t groups) {
    const int64_t most = int64_t(1) << 20;
    for (int64_t size : {x[1], x[2], x[3], weight[0], stride, groups})
        need(size > 0 && size < most, "need sizes, stride and groups from 1 to 2^20; got ", size);
    const bool fits =
        weight[0] % groups == 0 && x[1] == groups * weight[1] && weight[2] == weight[3] && weight[2] % 2 == 1;
    need(fits && stride < 3 && weight[2] < 64,
         "need x (N, groups * ins, H, W), weight (groups * outs, ins, k, k), k odd, stride 1 or 2; got ", x, ", ",
         weight, ", stride ", stride, ", groups ", groups);
    return {x[0], groups, weight[1], weight[0] / groups, weight[2], stride, x[2], x[3]};
}

inline std::vector<int64_t> convolution_out(const Convolution& s) {
    return {s.N, s.groups * s.outs, s.out_H(), s.out_W()};
}

inline Tensor convolution_of(const Tensor& x, const Tensor& weight, int64_t stride, int64_t groups) {
    const CpuCall call(x);
    const Tensor in = checked(call, "x", x, sizes_of(x, 4)), w = checked(call, "weight", weight, sizes_of(weight, 4));
    const Convolution shape = convolution_shape(in.sizes(), w.sizes(), stride, groups);
    Tensor result = empty(call, convolution_out(shape));
    convolution(call.queue, shape, data(in), data(w), out(result));
    return result;
}

inline Tensor convolution_input_of(const Tensor& grad, const Tensor& weight, int64_t stride, int64_t groups,
                                   const std::vector<int64_t>& x) {
    const CpuCall call(grad);
    need(x.size() == 4, "need 4 sizes of x; got ", x);
    const Tensor w = checked(call, "weight", weight, sizes_of(weight, 4));
    const Convolution shape = convolution_shape(x, w.sizes(), stride, groups);
    const Tensor g = checked(call, "grad", grad, convolution_out(shape));
    Tensor dx = empty(call, x);
    convolution_input(call.queue, shape, data(g), data(w), out(dx));
    return dx;
}

inline Tensor convolution_weight_of(const Tensor& grad, const Tensor& x, int64_t stride, int64_t groups,
                                    const std::vector<int64_t>& weight) {
    const CpuCall call(grad);
    need(weight.size() == 4, "need 4 sizes of weight; got ", weight);
    const Tensor in = checked(call, "x", x, sizes_of(x, 4));
    const Convolution shape = convolution_shape(in.sizes(), weight, stride, groups);
    const Tensor g = checked(call, "grad", grad, convolution_out(shape));
    Tensor dw = empty(call, weight);
    convolution_weight(call.queue, shape, data(g), data(in), out(dw));
    return dw;
}

inline void add_convolution(Library& m) {
    add<&convolution_of>(m, "convolution(Tensor x, Tensor weight, int stride, int groups) -> Tensor");
    add<&convolution_input_of>(
        m, "convolution_input(Tensor grad, Tensor weight, int stride, int groups, int[] x) -> Tensor");
    add<&convolution_weight_of>(
        m, "convolution_weight(Tensor grad, Tensor x, int stride, int groups, int[] weight) -> Tensor");
}

}  // namespace sgl_fast
