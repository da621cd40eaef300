#include "../mixed_cell.h"
#include "blocks.h"
#include "pool.h"
#include "shares.h"

namespace sgl_fast::plain {
constexpr int NATIVE = 4;
#include "kernels.h"
}  // namespace sgl_fast::plain
