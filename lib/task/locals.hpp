// The end of a fiber's fiber_local values.
#pragma once

#include "lib/fiber/fiber.hpp"

namespace bide::task_layer {

// On the fiber itself, at its end.
void destroy_locals(core::fiber&) noexcept;

}  // namespace bide::task_layer
