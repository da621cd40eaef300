#include "../skip_dropout.h"

#include <algorithm>

#include "kernels.h"
#include "pool.h"

namespace sgl_fast {
namespace {

constexpr int64_t block = 8192;  // positions
constexpr int64_t grain = 4;     // blocks below which another thread costs more than it saves

}  // namespace

void dropout_masks(const Pool& pool, int64_t masks, int64_t V, int64_t P, uint32_t first,
                   const int32_t* threshold, const int64_t* seeds, uint8_t* kept) {
    const auto run = kernels().keep_run;
    const int64_t blocks = (P + block - 1) / block;
    split(pool, masks * V * blocks, grain, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
            const int64_t row = b / blocks, start = b % blocks * block;
            run(static_cast<uint32_t>(std::min(block, P - start)), static_cast<uint32_t>(start), *threshold,
                seeds[row % V], first + static_cast<uint32_t>(row / V), kept + row * P + start);
        }
    });
}

}  // namespace sgl_fast
