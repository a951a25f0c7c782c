#pragma once

/// Marks what libbide.so exports; everything else is compiled hidden.
#define BIDE_API __attribute__((visibility("default")))
