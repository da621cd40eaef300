#include "shares.h"

#include <algorithm>

namespace sgl_fast {
namespace {

constexpr size_t worth = 512;   // pixels
constexpr int64_t grain = 8192;  // floats below which another thread costs more than it saves

}  // namespace

int images_of_share(int N, size_t pixels) { return std::max<int>((N + 15) / 16, (worth + pixels - 1) / pixels); }

void add_shares(const Pool& pool, int V, int S, size_t P, const float* shares, float* sums) {
    split(pool, P, grain, [&](int64_t begin, int64_t end) {
        for (int v = 0; v < V; v++) {
            const float* from = shares + v * S * P;
            std::copy(from + begin, from + end, sums + v * P + begin);
            for (int s = 1; s < S; s++)
                for (int64_t i = begin; i < end; i++) sums[v * P + i] += from[s * P + i];
        }
    });
}

}  // namespace sgl_fast
