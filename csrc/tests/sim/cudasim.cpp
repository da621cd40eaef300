// The scheduler of cudasim.h. For ThreadSanitizer, compile this file without -fsanitize=thread and with CUDASIM_TSAN, so
// that it sees what kernels read and write and not what the scheduler does.

#include "cudasim.h"

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "fiber.h"

namespace cudasim {

unsigned order = 0;
thread_local const Coordinates* here = nullptr;

namespace {

constexpr unsigned WARP = 32;

enum class At { ready, barrier, exchange, done };

struct Thread {
    Coordinates coordinates;
    unsigned number;
    At at;
    const void* place;  // of the barrier, of the exchange
    uint64_t value;     // passed to an exchange, then what comes out of it
    unsigned lane;      // whose value is asked for
    Fiber* fiber;
};

struct Shared {
    const char* file;
    int line;
    size_t bytes;
    std::unique_ptr<Memory> memory;
};

struct WarpOrder {
    unsigned barriers = 0;
    char ordered[2];
};

struct Block {
    const std::function<void()>& kernel;
    std::vector<Thread> threads;
    std::vector<unsigned> ready, exchanging;  // threads that can go on; lanes of each warp that wait
    std::vector<Shared> shared;
    Memory dynamic;
    unsigned live = 0, barriers = 0;
    std::string broken;
    std::unique_ptr<Memory> ordered[2];  // what barriers order, in turn: nobody may learn from a later one
    std::vector<WarpOrder> warps;        // the same of each warp's
};

thread_local Block* block;
thread_local Thread* running;
thread_local Fiber scheduler;
thread_local std::vector<std::unique_ptr<Fiber>> fibers;
#ifdef __SANITIZE_ADDRESS__
thread_local const void* scheduler_stack;
thread_local size_t scheduler_size;
#endif
char finished, fenced;

void jump(Fiber& from, Fiber& to) {
#ifdef __SANITIZE_ADDRESS__
    const bool back = &to == &scheduler;
    __sanitizer_start_switch_fiber(&from.fake, back ? scheduler_stack : to.stack, back ? scheduler_size : STACK);
#endif
#ifdef CUDASIM_TSAN
    __tsan_switch_to_fiber(to.shadow, UNORDERED);
#endif
    cudasim_switch(&from.stopped, to.stopped);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from.fake, nullptr, nullptr);
#endif
}

// Leaves the running thread until the scheduler takes it up again.
void leave() {
    Thread* mine = running;
    jump(*mine->fiber, scheduler);
    here = &mine->coordinates;
}

void entry() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_size);
#endif
    for (;;) {
        here = &running->coordinates;
        block->kernel();
        __tsan_release(&finished);
        running->at = At::done;
        block->live--;
        leave();
    }
}

[[noreturn]] void fail(const Thread& thread, const std::string& why) {
    const Coordinates& c = thread.coordinates;
    const auto text = [](dim3 d) {
        return std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z);
    };
    throw std::runtime_error(why + " (block " + text(c.block) + ", thread " + text(c.thread) + ")");
}

// Every live thread waits: at one barrier, or for ever.
void pass_barrier(Block& b) {
    const Thread* first = nullptr;
    for (const Thread& t : b.threads) {
        if (t.at == At::exchange) fail(t, "a shuffle waits for lanes that do not come");
        if (t.at != At::barrier) continue;
        if (first && t.place != first->place) fail(t, "threads of a block are at different barriers");
        first = &t;
    }
    for (Thread& t : b.threads) {
        if (t.at != At::barrier) continue;
        t.at = At::ready;
        b.ready.push_back(t.number);
    }
    b.barriers++;
}

unsigned next(std::vector<unsigned>& ready, std::mt19937& random) {
    if (order) std::swap(ready.back(), ready[random() % ready.size()]);
    const unsigned number = ready.back();
    ready.pop_back();
    return number;
}

void run(Block& b, std::mt19937& random) {
    block = &b;
    while (b.live) {
        if (b.ready.empty()) pass_barrier(b);
        running = &b.threads[next(b.ready, random)];
        jump(scheduler, *running->fiber);
        if (!b.broken.empty()) fail(*running, b.broken);
    }
}

// The block's threads, the first one last: it is taken first.
void start(Block& b, dim3 count, dim3 index, dim3 blocks) {
    const unsigned number = count.x * count.y * count.z;
    for (unsigned i = 0; i < number; i++) {
        const dim3 thread(i % count.x, i / count.x % count.y, i / count.x / count.y);
        b.threads.push_back({{thread, index, count, blocks}, i, At::ready, nullptr, 0, 0, nullptr});
        b.ready.push_back(number - 1 - i);
    }
    while (fibers.size() < number) fibers.push_back(std::make_unique<Fiber>(entry));
    for (unsigned i = 0; i < number; i++) b.threads[i].fiber = fibers[i].get();
    b.exchanging.assign((number + WARP - 1) / WARP, 0);
    b.warps = std::vector<WarpOrder>(b.exchanging.size());
    b.live = number;
    for (auto& one : b.ordered) one = std::make_unique<Memory>(1);
}

}  // namespace

size_t launch(dim3 grid, dim3 count, size_t dynamic_bytes, const std::function<void()>& kernel) {
    std::vector<unsigned> blocks(size_t(grid.x) * grid.y * grid.z);
    size_t most_static = 0;
    std::iota(blocks.begin(), blocks.end(), 0u);
    std::mt19937 random(order);
    if (order) std::shuffle(blocks.begin(), blocks.end(), random);
#ifdef CUDASIM_TSAN
    scheduler.shadow = __tsan_get_current_fiber();
#endif
    std::vector<std::unique_ptr<Block>> ran;
    std::deque<std::vector<std::unique_ptr<Fiber>>> earlier;
    try {
        for (unsigned i : blocks) {
            ran.emplace_back(new Block{kernel, {}, {}, {}, {}, Memory(dynamic_bytes)});
            start(*ran.back(), count, dim3(i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y), grid);
            run(*ran.back(), random);
            size_t bytes = 0;
            for (const Shared& one : ran.back()->shared) bytes += one.bytes;
            most_static = std::max(most_static, bytes);
#ifdef CUDASIM_TSAN
            earlier.push_back(std::move(fibers));  // the next block's are new: nothing orders blocks
            fibers.clear();
            if (earlier.size() > REMEMBERED) earlier.pop_front();
#else
            ran.clear();
#endif
        }
    } catch (...) {
        fibers.clear();
        throw;
    }
    __tsan_acquire(&finished);
    return most_static;
}

void barrier(const void* place) {
    Block& b = *block;
    void* ordered = b.ordered[b.barriers % 2]->get();
    __tsan_release(ordered);
    running->at = At::barrier;
    running->place = place;
    leave();
    __tsan_acquire(ordered);
}

uint64_t exchanged(uint64_t value, unsigned lane, const void* place) {
    Block& b = *block;
    Thread& mine = *running;
    const unsigned warp = mine.number / WARP, first = warp * WARP;
    mine.at = At::exchange;
    mine.value = value;
    mine.lane = lane;
    mine.place = place;
    if (lane >= WARP) b.broken = "a shuffle asks for lane " + std::to_string(lane);
    if (++b.exchanging[warp] < WARP || !b.broken.empty()) {
        leave();
        return mine.value;
    }
    uint64_t passed[WARP];
    for (unsigned i = 0; i < WARP; i++) {
        passed[i] = b.threads[first + i].value;
        if (b.threads[first + i].place != place) b.broken = "lanes of a warp are at different shuffles";
    }
    for (unsigned i = 0; i < WARP; i++) {
        Thread& t = b.threads[first + i];
        t.value = passed[t.lane];
        t.at = At::ready;
        if (&t != &mine) b.ready.push_back(t.number);
    }
    b.exchanging[warp] = 0;
    return mine.value;
}

void warp_barrier(const void* place) {
    WarpOrder& warp = block->warps[running->number / WARP];
    const unsigned mine = warp.barriers;
    __tsan_release(warp.ordered + mine % 2);
    exchanged(0, 0, place);
    warp.barriers = mine + 1;
    __tsan_acquire(warp.ordered + mine % 2);
}

void* shared(const char* file, int line, size_t bytes) {
    const Quiet quiet;
    for (const Shared& one : block->shared)
        if (one.line == line && !std::strcmp(one.file, file)) return one.memory->get();
    block->shared.push_back({file, line, bytes, std::make_unique<Memory>(bytes)});
    return block->shared.back().memory->get();
}

void need_matrix(const void* at, size_t step_bytes, const void* place) {
    if (reinterpret_cast<uintptr_t>(at) % 32 || step_bytes % 16)
        block->broken = "a matrix starts or steps at an odd place";
    exchanged(0, 0, place);
}

float cut_sum(const double (&terms)[5]) {
    int most = -1000, exponent;
    for (double term : terms) {
        if (term == 0) continue;
        std::frexp(term, &exponent);
        most = std::max(most, exponent);
    }
    const double unit = std::ldexp(1.0, most - 24);
    double sum = 0;
    for (double term : terms) sum += std::trunc(term / unit) * unit;
    float cut = static_cast<float>(sum);
    if (std::fabs(cut) > std::fabs(sum)) cut = std::nextafter(cut, 0.0f);
    return cut;
}

void fence() {
    __tsan_release(&fenced);
    __tsan_acquire(&fenced);
}

void* dynamic_shared() { return block->dynamic.get(); }

}  // namespace cudasim
