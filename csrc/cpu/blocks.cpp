#include "blocks.h"

#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace sgl_fast {
namespace {

constexpr size_t HUGE_PAGE = size_t(2) << 20;

struct Blocks {
    std::mutex mutex;
    std::multimap<size_t, float*> idle;
    std::unordered_map<float*, size_t> sizes;  // of all blocks, in bytes
    size_t used = 0, kept = 0, highest = 0;    // bytes in use, idle, in use at the highest point

    float* take(size_t bytes) {
        const auto fit = idle.lower_bound(bytes);
        if (fit == idle.end() || fit->first > bytes + bytes / 4) return fresh(bytes);
        float* block = fit->second;
        kept -= fit->first;
        used += fit->first;
        idle.erase(fit);
        return block;
    }

    float* fresh(size_t bytes) {
        if (used + bytes > highest) highest = used + bytes;
        while (!idle.empty() && used + kept + bytes > highest) drop();
        void* memory = std::aligned_alloc(bytes < HUGE_PAGE ? 64 : HUGE_PAGE, bytes);
        if (!memory) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (bytes >= HUGE_PAGE) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
        float* block = static_cast<float*>(memory);
        sizes[block] = bytes;
        used += bytes;
        return block;
    }

    void give(float* block) {
        const size_t bytes = sizes.at(block);
        used -= bytes;
        kept += bytes;
        idle.emplace(bytes, block);
    }

    void drop() {
        const auto largest = std::prev(idle.end());
        kept -= largest->first;
        sizes.erase(largest->second);
        std::free(largest->second);
        idle.erase(largest);
    }
};

// Never destroyed: tensors may outlive it at the end of the process.
Blocks& blocks() {
    static Blocks& all = *new Blocks;
    return all;
}

size_t rounded(size_t bytes) {
    const size_t unit = bytes < HUGE_PAGE ? 4096 : HUGE_PAGE;
    return (bytes + unit - 1) / unit * unit;
}

}  // namespace

float* take_block(size_t floats) {
    Blocks& all = blocks();
    const std::lock_guard<std::mutex> lock(all.mutex);
    return all.take(rounded(floats ? floats * sizeof(float) : 1));
}

void give_block(float* block) {
    Blocks& all = blocks();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.give(block);
}

Block::Block(size_t floats) : memory(take_block(floats)) {}
Block::~Block() { give_block(memory); }

}  // namespace sgl_fast
