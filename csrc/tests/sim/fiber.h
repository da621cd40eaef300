// Stacks that a CPU thread changes between, and memory that starts as NaN. Part of cudasim.cpp.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#ifndef __x86_64__
#error "the simulator changes stacks in x86-64 assembly"
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef CUDASIM_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
constexpr unsigned UNORDERED = 1;  // a switch that orders nothing
constexpr size_t REMEMBERED =
    10;  // blocks whose threads are kept, which need much memory: one that is gone races with nobody
// While it lives, what the library is told to allocate and to copy is nobody's race.
struct Quiet {
    Quiet() {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    ~Quiet() {
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
};
#else
struct Quiet {
    Quiet() {}
};
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
#endif

extern "C" void cudasim_switch(void** save, void* to);
__asm__(
    ".text\n"
    ".globl cudasim_switch\n"
    "cudasim_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\n"
    "mov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\n"
    "ret\n");

namespace cudasim {
namespace {

constexpr size_t STACK = 256 << 10, GUARD = 4096;

// Bytes that are NaN as floats. ThreadSanitizer must not take one block's memory for the next one's: fresh pages.
class Memory {
  public:
    explicit Memory(size_t bytes) : bytes_(std::max<size_t>(bytes, 1)) {
#ifdef CUDASIM_TSAN
        memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#else
        if (posix_memalign(&memory_, 128, bytes_)) throw std::bad_alloc();
#endif
        std::memset(memory_, 0xff, bytes_);
    }
    ~Memory() {
#ifdef CUDASIM_TSAN
        munmap(memory_, bytes_);
#else
        std::free(memory_);
#endif
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    void* get() const { return memory_; }

  private:
    size_t bytes_;
    void* memory_;
};

// A stack of its own, and where it stopped.
struct Fiber {
    void* stopped = nullptr;
    char* stack = nullptr;
    void* shadow = nullptr;  // ThreadSanitizer's
    void* fake = nullptr;    // AddressSanitizer's

    Fiber() = default;
    explicit Fiber(void (*entry)()) {
        void* pages =
            mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pages == MAP_FAILED) throw std::bad_alloc();
        mprotect(pages, GUARD, PROT_NONE);
        stack = static_cast<char*>(pages) + GUARD;
        void** top = reinterpret_cast<void**>(stack + STACK) - 8;  // six registers, the entry, no return address
        top[6] = reinterpret_cast<void*>(entry);
        stopped = top;
#ifdef CUDASIM_TSAN
        shadow = __tsan_create_fiber(0);
#endif
    }
    ~Fiber() {
        if (!stack) return;
#ifdef CUDASIM_TSAN
        __tsan_destroy_fiber(shadow);
#endif
        munmap(stack - GUARD, GUARD + STACK);
    }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
};

}  // namespace
}  // namespace cudasim
