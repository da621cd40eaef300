#include "table.h"

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "driver.h"

namespace sgl_fast {
namespace {

enum { CAPTURE_RELAXED = 2, STREAM_NON_BLOCKING = 1 };  // of cuda.h

// While the thread captures a graph, allocating and copying are legal in the relaxed mode alone, and not on the stream that
// is captured: the copy has a stream of its own and is done when this returns.
void* upload(const std::string& bytes) {
    struct Relaxed {
        int mode = CAPTURE_RELAXED;
        Relaxed() { check(driver().cuThreadExchangeStreamCaptureMode(&mode), "cuThreadExchangeStreamCaptureMode"); }
        ~Relaxed() { driver().cuThreadExchangeStreamCaptureMode(&mode); }
    } relaxed;
    uint64_t memory = 0;
    void* own = nullptr;
    check(driver().cuMemAlloc_v2(&memory, bytes.size()), "cuMemAlloc");
    check(driver().cuStreamCreate(&own, STREAM_NON_BLOCKING), "cuStreamCreate");
    const Driver::Error copied = driver().cuMemcpyHtoDAsync_v2(memory, bytes.data(), bytes.size(), own);
    const Driver::Error done = driver().cuStreamSynchronize(own);
    driver().cuStreamDestroy_v2(own);
    check(copied, "cuMemcpyHtoDAsync");
    check(done, "cuStreamSynchronize");
    return reinterpret_cast<void*>(memory);
}

}  // namespace

const void* device_copy(const Stream& stream, const void* bytes, size_t size) {
    static std::mutex& mutex = *new std::mutex;
    static auto& copies = *new std::map<std::pair<int, std::string>, void*>;
    const std::pair<int, std::string> key(stream.device, std::string(static_cast<const char*>(bytes), size));
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = copies.find(key);
    return found != copies.end() ? found->second : copies.emplace(key, upload(key.second)).first->second;
}

}  // namespace sgl_fast
