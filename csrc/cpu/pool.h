#pragma once

namespace sgl_fast {

// Somebody else's threads. run calls task(context, index) for every index in [0, count), in any order and from any
// thread, and returns when all have returned; count is usually `threads`.
struct Pool {
  int threads;
  void (*run)(int count, void (*task)(void* context, int index), void* context);
};

}  // namespace sgl_fast
