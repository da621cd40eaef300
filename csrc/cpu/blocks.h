// A caching allocator for what a pass saves and works in: large, and of the same sizes step after step. A block that is
// given back is kept for the next one that fits, because pages that the system hands out anew cost as much as the
// kernels that write to them. No more is held in all than was in use at the highest point.
#pragma once

#include <cstddef>

namespace sgl_fast {

// Any thread may call; std::bad_alloc where there is no memory.
float* take_block(size_t floats);
void give_block(float* block);

// A block until the end of its scope.
struct Block {
    float* const memory;

    explicit Block(size_t floats);
    ~Block();
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
};

}  // namespace sgl_fast
