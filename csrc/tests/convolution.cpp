// Convolutions and both gradients against their formulas in double, on odd sizes; the same bits on any number of threads.

#include "../cpu/convolution.h"

#include "check.h"

using namespace sgl_fast;
using Doubles = std::vector<double>;

// Calls term(output, weight, input) for every product of a convolution.
template <class Term> static void each_product(const Convolution& s, const Term& term) {
    const int64_t border = s.kernel / 2;
    for (int64_t n = 0; n < s.N; n++)
        for (int64_t o = 0; o < s.groups * s.outs; o++)
            for (int64_t c = 0; c < s.ins; c++)
                for (int64_t i = 0; i < s.kernel; i++)
                    for (int64_t j = 0; j < s.kernel; j++)
                        for (int64_t y = 0; y < s.out_H(); y++)
                            for (int64_t x = 0; x < s.out_W(); x++) {
                                const int64_t from_y = y * s.stride + i - border, from_x = x * s.stride + j - border;
                                if (from_y < 0 || from_y >= s.H || from_x < 0 || from_x >= s.W) continue;
                                const int64_t channel = (n * s.groups + o / s.outs) * s.ins + c;
                                term(((n * s.groups * s.outs + o) * s.out_H() + y) * s.out_W() + x,
                                     ((o * s.ins + c) * s.kernel + i) * s.kernel + j,
                                     (channel * s.H + from_y) * s.W + from_x);
                            }
}

static void check(const Convolution& s) {
    const Floats x = normal(s.N * s.groups * s.ins * s.H * s.W), w = normal(s.groups * s.outs * s.columns());
    const Floats g = normal(s.N * s.groups * s.outs * s.pixels());
    Doubles out(g.size()), dx(x.size()), dw(w.size());
    each_product(s, [&](int64_t to, int64_t weight, int64_t from) {
        out[to] += double(w[weight]) * x[from];
        dx[from] += double(w[weight]) * g[to];
        dw[weight] += double(g[to]) * x[from];
    });
    std::vector<Floats> first;
    for (int count : {1, 2, 3, 5}) {
        std::vector<Floats> found{Floats(out.size()), Floats(dx.size()), Floats(dw.size())};
        convolution(queue(count), s, x.data(), w.data(), found[0].data());
        convolution_input(queue(count), s, g.data(), w.data(), found[1].data());
        convolution_weight(queue(count), s, g.data(), x.data(), found[2].data());
        close("convolution", found[0], out);
        close("gradient in the input", found[1], dx);
        close("gradient in the weights", found[2], dw);
        if (first.empty()) first = found;
        if (found == first) continue;
        std::printf("%d threads (%s): not the bits of one\n", count, way.c_str());
        std::exit(1);
    }
}

int main() {
    return each_way([] {
        for (int64_t stride : {1, 2})
            for (int64_t kernel : {1, 3}) {
                check({3, 1, 3, 5, kernel, stride, 7, 9});
                check({20, 2, 3, 17, kernel, stride, 8, 8});
                check({1, 3, 20, 4, kernel, stride, 1, 33});
                check({2, 2, 1, 1, kernel, stride, 1, 1});
                check({5, 1, 2, 8, kernel, stride, 40, 2});
            }
    });
}
