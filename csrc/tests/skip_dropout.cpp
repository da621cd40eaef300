// skip_dropout.h against its formula in 64 bits, on odd sizes, seeds at the ends of their range and thresholds.

#include "../skip_dropout.h"

#include "check.h"

using namespace sgl_fast;

static uint64_t word(uint64_t x) { return x & 0xffffffff; }

static uint64_t scrambled(uint64_t x) {
    x = word((x ^ (x >> 16)) * 0x7feb352d);
    x = word((x ^ (x >> 15)) * 0x846ca68b);
    return x ^ (x >> 16);
}

static bool keeps(int64_t seed, uint64_t number, uint64_t position, uint64_t threshold) {
    const uint64_t low = word(seed), high = word(static_cast<uint64_t>(seed) >> 32), golden = 0x9e3779b9;
    const uint64_t start = scrambled(low ^ scrambled(word(high + golden)));
    const uint64_t b = high ^ scrambled(word(start + number)), a = start ^ scrambled(word(b + golden));
    return scrambled(word(scrambled(position ^ a) + b)) >> 8 >= threshold;
}

template <class Queue>
static void check(int64_t masks, int64_t P, uint32_t first, int32_t threshold, const Queue& queue) {
    const std::vector<int64_t> seeds{0, -1, int64_t{1} << 62, 12345678901234567};
    const int64_t V = seeds.size();
    std::vector<uint8_t> kept(masks * V * P);
    dropout_masks(queue, masks, V, P, first, &threshold, seeds.data(), kept.data());
    std::vector<double> want;
    for (int64_t m = 0; m < masks; m++)
        for (int64_t seed : seeds)
            for (int64_t p = 0; p < P; p++) want.push_back(keeps(seed, first + m, p, threshold));
    close("masks", Floats(kept.begin(), kept.end()), want);
}

int main() {
    return each_way([] {
        if (brief) return check(1, 4098, 0, 5033165, queue(1));
        for (int64_t P : {1, 3, 4, 63, 4095, 4096, 4097, 8192, 8193, 10000})
            for (int32_t threshold : {0, 5033165, 1 << 24}) {
                check(1, P, 0, threshold, queue(1));
                check(2, P, 70000, threshold, queue(3));
            }
    });
}
