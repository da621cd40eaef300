#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../cpu/isa.h"
#include "../cpu/pool.h"

namespace sgl_fast {

using Floats = std::vector<float>;

inline void run_on_threads(int count, void (*task)(void*, int), void* context) {
    std::vector<std::thread> threads;
    for (int index = 0; index < count; index++) threads.emplace_back(task, context, index);
    for (std::thread& thread : threads) thread.join();
}

inline Pool threads(int count) { return {count, run_on_threads}; }

// Standard normal numbers, in a block of exactly their size, so that a sanitizer sees a read past the last.
inline Floats normal(int64_t count) {
    static std::mt19937 engine(7);
    std::normal_distribution<float> draw;
    Floats values(count);
    for (float& value : values) value = draw(engine);
    values.shrink_to_fit();
    return values;
}

// Exits unless got is want to 2e-6 of the largest value.
inline void close(const char* what, const Floats& got, const std::vector<double>& want) {
    double error = 0, largest = 1e-30;
    for (size_t i = 0; i < want.size(); i++) {
        error = std::fmax(error, std::fabs(got[i] - want[i]));
        largest = std::fmax(largest, std::fabs(want[i]));
    }
    if (got.size() == want.size() && error <= 2e-6 * largest) return;
    std::printf("%s (%s): off by %g of %g\n", what, name_of(isa()), error, largest);
    std::exit(1);
}

// Runs the checks under every instruction set of this processor.
template <class Checks> int under_each_isa(const Checks& checks) {
    for (Isa one : {Isa::plain, Isa::avx2, Isa::avx512}) {
        setenv("SGL_FAST_ISA", name_of(one), 1);
        try {
            isa();
        } catch (const std::runtime_error& error) {
            std::printf("left out: %s\n", error.what());
            continue;
        }
        checks();
        std::printf("passed: %s\n", name_of(one));
    }
    return 0;
}

}  // namespace sgl_fast
