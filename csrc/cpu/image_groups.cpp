#include "image_groups.h"

#include <algorithm>

#include "pool.h"

namespace sgl_fast {
namespace {

constexpr size_t worth = 512;    // pixels
constexpr int64_t grain = 8192;  // floats below which another thread costs more than it saves

}  // namespace

int images_per_group(int N, size_t pixels) { return std::max<int>((N + 15) / 16, (worth + pixels - 1) / pixels); }

void sum_groups(const Pool& pool, int V, int G, size_t P, const float* groups, float* sums) {
    split(pool, P, grain, [&](int64_t begin, int64_t end) {
        for (int v = 0; v < V; v++) {
            const float* first = groups + v * G * P;
            std::copy(first + begin, first + end, sums + v * P + begin);
            for (int g = 1; g < G; g++)
                for (int64_t i = begin; i < end; i++) sums[v * P + i] += first[g * P + i];
        }
    });
}

}  // namespace sgl_fast
