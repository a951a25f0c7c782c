// The blocking echo server with a kernel thread for each connection.

#include "serve.hpp"

#include <pthread.h>

namespace {

const bench::server* how;

void* serve_one(void* connection) {
  bench::serve(*how, static_cast<int>(reinterpret_cast<long>(connection)));
  return nullptr;
}

}  // namespace

int main(int count, char** arguments) {
  const bench::server server(count, arguments);
  how = &server;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 64 * 1024);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  bench::accept_each(server, [&attributes](int connection) {
    pthread_t thread;
    const int error =
        pthread_create(&thread, &attributes, serve_one, reinterpret_cast<void*>(static_cast<long>(connection)));
    if (error != 0) errno = error, bench::fail("pthread_create");
  });
}
