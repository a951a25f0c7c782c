#include "lib/sync/futex.hpp"
#include <errno.h>
#include "lib/call/attempt.hpp"
#include "lib/call/families.hpp"
namespace bide::call {
long futex_call(long word,long op,long value,long timeout,long word2,long value3){ const long n=sync::futex((std::uint32_t*)word,(int)op,(std::uint32_t)value,(void*)timeout,(std::uint32_t*)word2,(std::uint32_t)value3); if(n==-EINTR) signal_seen(timeout!=0); return n; }
}
