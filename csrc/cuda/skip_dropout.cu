// Which numbers a skip's dropout keeps. A block takes a part of the positions of one mask of one learner.
#include "device.cuh"

namespace sgl_fast {

// A bijection of 32-bit words, each of whose bits depends on all of x about evenly.
__forceinline__ unsigned mixed(unsigned x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

// What a mask's words come from: the seed of the virtual learner and the mask's number.
struct MaskKey {
    unsigned a, b;
    MaskKey(long long seed, unsigned number) {
        const unsigned low = (unsigned)seed, high = (unsigned)((unsigned long long)seed >> 32);
        a = mixed(low ^ mixed(high + 0x9e3779b9u));
        b = high ^ mixed(a + number);
        a ^= mixed(b + 0x9e3779b9u);
    }
    // Whether a position stays.
    bool keeps(unsigned position, unsigned threshold) const { return mixed(mixed(position ^ a) + b) >> 8 >= threshold; }
};

// kept (masks, V, P), a mask a blockIdx.z, a learner a blockIdx.y; seeds (V); limit: the threshold.
KERNEL __launch_bounds__(DROPOUT_THREADS)
    dropout_masks_kernel(long long P, unsigned first, const int* limit, const long long* seeds, unsigned char* kept) {
    const unsigned threshold = *limit;
    const MaskKey key(seeds[blockIdx.y], first + blockIdx.z);
    unsigned char* row = kept + ((long long)blockIdx.z * gridDim.y + blockIdx.y) * P;
    const long long start = (long long)blockIdx.x * DROPOUT_PART,
                    end = start + DROPOUT_PART < P ? start + DROPOUT_PART : P;
    if (P % 4 == 0) {  // each row starts where four may be written at once
        for (long long i = start + 4 * threadIdx.x; i < end; i += 4 * DROPOUT_THREADS) {
            unsigned four = 0;
#pragma unroll
            for (int j = 0; j < 4; j++) four |= (unsigned)key.keeps((unsigned)i + j, threshold) << 8 * j;
            *(unsigned*)(row + i) = four;
        }
    } else {
        for (long long i = start + threadIdx.x; i < end; i += DROPOUT_THREADS)
            row[i] = key.keeps((unsigned)i, threshold);
    }
}

}  // namespace sgl_fast
