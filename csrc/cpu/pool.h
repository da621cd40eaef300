#pragma once

#include <algorithm>
#include <cstdint>

namespace sgl_fast {

// The caller's thread pool. run calls task(context, index) for every index in [0, count), in any order and from any
// thread, and returns when all have returned; count is usually `threads`.
struct Pool {
    int threads;
    void (*run)(int count, void (*task)(void* context, int index), void* context);
};

// Calls body(begin, end) on consecutive parts of [0, count): one a thread, fewer if they would be below `grain` long.
template <class Body> void split(const Pool& pool, int64_t count, int64_t grain, const Body& body) {
    struct Parts {
        const Body& body;
        int64_t count, parts;
    } context{body, count, std::max<int64_t>(1, std::min<int64_t>(pool.threads, count / std::max<int64_t>(grain, 1)))};
    if (context.parts == 1) return body(int64_t{0}, count);
    pool.run(
        static_cast<int>(context.parts),
        [](void* pointer, int index) {
            const Parts& c = *static_cast<Parts*>(pointer);
            c.body(c.count * index / c.parts, c.count * (index + 1) / c.parts);
        },
        &context);
}

}  // namespace sgl_fast
