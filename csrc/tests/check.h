#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#ifdef SIMULATED
#include "../cuda/driver.h"
#include "../cuda/launch.h"
extern "C" void sgl_fast_order(unsigned order);  // of the stand-in for the driver
#else
#include "../cpu/isa.h"
#include "../cpu/pool.h"
#endif

namespace sgl_fast {

using Floats = std::vector<float>;

#ifdef __SANITIZE_THREAD__
constexpr bool brief = true;  // every block of simulated threads is slow
#else
constexpr bool brief = false;
#endif

inline std::string way;  // in which the checks run now: an instruction set, or an order of simulated threads

inline std::mt19937 engine;  // seeded anew for every way

// Standard normal numbers, in a block of exactly their size, so that a sanitizer sees a read past the last.
inline Floats normal(int64_t count) {
    std::normal_distribution<float> draw;
    Floats values(count);
    for (float& value : values) value = draw(engine);
    values.shrink_to_fit();
    return values;
}

#ifdef SIMULATED

// Exits unless every order of the threads gives the same bits. Called in the same sequence under each order.
inline void repeats(const char* what, const Floats& got) {
    static std::vector<Floats> first;
    static std::string current, earliest = way;
    static size_t count;
    if (current != way) count = 0;
    current = way;
    if (way == earliest)
        first.push_back(got);
    else if (got.size() != first[count].size() ||
             std::memcmp(got.data(), first[count].data(), got.size() * sizeof(float))) {
        std::printf("%s (%s): not the bits of %s\n", what, way.c_str(), earliest.c_str());
        std::exit(1);
    }
    count++;
}

#else

inline void repeats(const char*, const Floats&) {}

#endif

// Exits unless got is want to 2e-6 of the largest value.
inline void close(const char* what, const Floats& got, const std::vector<double>& want) {
    repeats(what, got);
    double error = 0, largest = 1e-30;
    for (size_t i = 0; i < want.size(); i++) {
        error = std::fmax(error, std::fabs(got[i] - want[i]));
        largest = std::fmax(largest, std::fabs(want[i]));
    }
    if (got.size() == want.size() && error <= 2e-6 * largest) return;
    std::printf("%s (%s): off by %g of %g\n", what, way.c_str(), error, largest);
    std::exit(1);
}

#ifdef SIMULATED

// Where kernels are launched, and memory for them, each piece of its exact size.
inline Stream queue(int) {
    static std::vector<std::unique_ptr<char[]>> pieces;
    pieces.clear();
    const int device = current_device(0);
    load_kernels(device, {"simulated"});
    return {device, nullptr,
            [](void*, size_t bytes) { return static_cast<void*>(pieces.emplace_back(new char[bytes]).get()); },
            nullptr};
}

// Runs the checks under several orders of the simulated threads, the first as they are numbered.
template <class Checks> int each_way(const Checks& checks) {
    for (unsigned order = brief; order < 4; order++) {
        sgl_fast_order(order);
        way = "order " + std::to_string(order);
        engine.seed(7);
        checks();
        std::printf("passed: %s\n", way.c_str());
    }
    return 0;
}

#else

inline void run_on_threads(int count, void (*task)(void*, int), void* context) {
    std::vector<std::thread> threads;
    for (int index = 0; index < count; index++) threads.emplace_back(task, context, index);
    for (std::thread& thread : threads) thread.join();
}

inline Pool queue(int threads) { return {threads, run_on_threads}; }

// Runs the checks under every instruction set of this processor.
template <class Checks> int each_way(const Checks& checks) {
    for (Isa one : {Isa::plain, Isa::avx2, Isa::avx512}) {
        way = name_of(one);
        setenv("SGL_FAST_ISA", name_of(one), 1);
        engine.seed(7);
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

#endif

}  // namespace sgl_fast
