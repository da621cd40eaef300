#pragma once

#include <cstddef>

namespace sgl_fast {

// Memory for what a pass saves: large, and of the same sizes step after step. A block that is given back is kept for the
// next one that fits, because pages that the system hands out anew cost as much as the kernels that write to them. No
// more is held in all than was in use at the highest point. Any thread may call; std::bad_alloc where there is no memory.
float* take_block(size_t floats);
void give_block(float* block);

}  // namespace sgl_fast
