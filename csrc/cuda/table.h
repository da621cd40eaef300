// Tables of jobs in device memory. A kernel reads them by a pointer: its parameters stay below the 4 KB that every driver
// takes, however many jobs a launch has.
#pragma once

#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>

#include "launch.h"

namespace sgl_fast {

#ifdef CUDASIM

inline int current_device() { return 0; }

inline void* upload(const std::string& bytes) { return std::memcpy(new char[bytes.size()], bytes.data(), bytes.size()); }

#else

inline int current_device() {
    int device;
    check(cudaGetDevice(&device), "cudaGetDevice");
    return device;
}

// While the thread captures a graph, allocating and copying are legal in the relaxed mode alone, and not on the stream that
// is captured: the copy has a stream of its own and is done when this returns.
inline void* upload(const std::string& bytes) {
    struct Relaxed {
        cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
        Relaxed() { check(cudaThreadExchangeStreamCaptureMode(&mode), "cudaThreadExchangeStreamCaptureMode"); }
        ~Relaxed() { cudaThreadExchangeStreamCaptureMode(&mode); }
    } relaxed;
    void* memory = nullptr;
    cudaStream_t own;
    check(cudaMalloc(&memory, bytes.size()), "cudaMalloc");
    check(cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    const cudaError_t copied = cudaMemcpyAsync(memory, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, own);
    const cudaError_t done = cudaStreamSynchronize(own);
    cudaStreamDestroy(own);
    check(copied, "cudaMemcpyAsync");
    check(done, "cudaStreamSynchronize");
    return memory;
}

#endif

// A copy of these bytes on the device in force. Equal bytes have one copy, made once and kept until the process ends, since a
// captured graph reads it at every replay. A cell has about 25 tables of at most 15 KB; a pass over known cells copies nothing.
inline const void* device_copy(const void* bytes, size_t size) {
    static std::mutex& mutex = *new std::mutex;
    static auto& copies = *new std::map<std::pair<int, std::string>, void*>;
    const std::pair<int, std::string> key(current_device(), std::string(static_cast<const char*>(bytes), size));
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = copies.find(key);
    return found != copies.end() ? found->second : copies.emplace(key, upload(key.second)).first->second;
}

template <class Table> const Table* on_device(const Table& table) {
    static_assert(std::is_trivially_copyable<Table>::value, "host and device agree on the bytes of a table");
    static_assert(std::has_unique_object_representations<Table>::value, "padding would give equal tables different bytes");
    return static_cast<const Table*>(device_copy(&table, sizeof(Table)));
}

// What a kernel takes by value.
template <class... Parameters> constexpr bool fits_parameters() {
    return (std::is_trivially_copyable<Parameters>::value && ...) && (sizeof(Parameters) + ...) <= 4096;
}

}  // namespace sgl_fast
