// A task's fiber before it runs: made for a runtime, by one of its fibers or from outside.
#pragma once

#include <bide/detail/frame.hpp>

#include "lib/fiber/worker_core.hpp"

namespace bide::task_layer {

// For the runtime of that worker, which need not be the caller's. Throws std::system_error (EINVAL, ENOMEM).
core::fiber* prepare(core::worker_core&, const spawn_options&, std::size_t size, std::size_t align, void** room);
void start(core::worker_core& home, core::fiber*, detail::frame*) noexcept;

}  // namespace bide::task_layer
