// What pixels receive through a depthwise convolution, from planes of grad z in shared memory.
#pragma once

#include "convolve.cuh"

namespace sgl_fast {

// What four neighbouring pixels of a row receive through a depthwise convolution of stride 2, each by the taps of its parity.
// plane: of grad z, with its border.
template <int K, int D>
__forceinline__ float4 strided_dgrad(const PaddedPlane& tile, const float* plane, const float* w, int y, int x) {
    constexpr int reach = K / 2 * D, back = (reach / 2 + 1) / 2 * 2, width = (back + (3 + reach) / 2 + 2) / 2 * 2;
    float sums[4] = {0, 0, 0, 0};
    const int odd = (y + reach) % 2;
    if (D == 2 && odd) return make_float4(0, 0, 0, 0);
    constexpr int step = D == 1 ? 2 : 1;  // from a tap's row to that of the next one of this parity: a row of the plane
    const int first = D == 1 ? odd : 0;
    const float* row = plane + tile.at((y + reach - first * D) / 2, x / 2 - back);
    w += first * K;
#pragma unroll 1
    for (int i = first; i < K; i += step, row -= tile.row, w += step * K) {
        float window[width];
#pragma unroll
        for (int c = 0; c < width; c += 2) {
            const float2 two = *(const float2*)(row + c);
            window[c] = two.x;
            window[c + 1] = two.y;
        }
#pragma unroll
        for (int j = 0; j < K; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if ((e + reach - j * D) % 2 == 0) sums[e] += w[j] * window[(e + reach - j * D) / 2 + back];
    }
    return make_float4(sums[0], sums[1], sums[2], sums[3]);
}

template <int K>
__forceinline__ float4 strided_dgrad(int dilation, const PaddedPlane& tile, const float* plane, const float* w, int y,
                                     int x) {
    return dilation == 1 ? strided_dgrad<K, 1>(tile, plane, w, y, x) : strided_dgrad<K, 2>(tile, plane, w, y, x);
}

__forceinline__ float4 strided_dgrad(const DgradConv& conv, const PaddedPlane& tile, const float* plane, const float* w,
                                     int y, int x) {
    if (conv.kernel == 3) return strided_dgrad<3>(conv.dilation, tile, plane, w, y, x);
    if (conv.kernel == 5) return strided_dgrad<5>(conv.dilation, tile, plane, w, y, x);
    if (conv.kernel == 7) return strided_dgrad<7>(conv.dilation, tile, plane, w, y, x);
    if (y % 2 != conv.first) return make_float4(0, 0, 0, 0);
    const float2 two = *(const float2*)(plane + tile.at(y / 2, x / 2));
    return conv.first ? make_float4(0, two.x, 0, two.y) : make_float4(two.x, 0, two.y, 0);
}

// What four neighbouring pixels of a row receive.
__forceinline__ float4 depthwise_dgrad(const DgradConv& conv, const PaddedPlane& tile, const float* plane,
                                       const float* w, int y, int x) {
    if (conv.stride == 2) return strided_dgrad(conv, tile, plane, w, y, x);
    if (conv.kernel == 1) return *(const float4*)(plane + tile.at(y, x));
    const int more = tile.pad - pad_for(conv.kernel / 2 * conv.dilation);  // border than its windows need
    return depthwise_quad<1, true>(conv.kernel, conv.dilation, plane + (y + more) * tile.row + x + more, tile.row, w);
}

}  // namespace sgl_fast
