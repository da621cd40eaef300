// Depthwise convolutions of one plane: forward, dgrad (gradient of the input) and wgrad (of the taps).
#pragma once

#include "geometry.h"

ISA_NAMESPACE_BEGIN

struct Depthwise {
    // out[y][x] = sum of taps[i][j] * in[S*y + i*D - reach][S*x + j*D - reach], rows of W floats that overrun.
    void (*forward)(const float* in, const Padded&, const float* taps, float* out);
    // dx += the input gradient; dy: a Padded plane of the outputs' gradients.
    void (*dgrad)(const float* dy, const Padded&, const float* taps, float* dx, const Blocked&);
    // dtaps += the gradient of the taps.
    void (*wgrad)(const float* dy, const Padded&, const float* in, const Padded&, float* dtaps);
};

// The kernels for outputs of that width; depthwise_loops.h has them, which takes long to compile.
Depthwise depthwise_for(int kernel, int dilation, int stride, int width);

ISA_NAMESPACE_END
