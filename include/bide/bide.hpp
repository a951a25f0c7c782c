/// bide: blocking code that waits without blocking.
#pragma once

#include <bide/calls.hpp>
#include <bide/condition_variable.hpp>
#include <bide/gather.hpp>
#include <bide/mutex.hpp>
#include <bide/offload.hpp>
#include <bide/options.hpp>
#include <bide/run.hpp>
#include <bide/semaphore.hpp>
#include <bide/shield.hpp>
#include <bide/stop.hpp>
#include <bide/task.hpp>
#include <bide/this_fiber.hpp>
#include <bide/timeout.hpp>
#include <bide/wait.hpp>
#include <bide/wait_group.hpp>
