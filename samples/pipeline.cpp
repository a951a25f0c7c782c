// A pipeline: each stage is a fiber between two pipes that reads and writes as a shell's filters do.
//
//   build/samples/pipeline         prints the first 50 primes
//
// The first stage writes 2, 3, 4, ... What comes first out of a stage is a prime; the next stage drops its multiples.
// Once the last pipe is closed, each stage meets EPIPE in its turn: the pipeline ends from its far end to the near.
#include <bide/bide.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

bool get(int in, int& number) { return read(in, &number, sizeof number) == sizeof number; }
bool put(int out, int number) { return write(out, &number, sizeof number) == sizeof number; }

void count(int out) {
  for (int n = 2; put(out, n);) ++n;
  close(out);
}

void drop_multiples(int prime, int in, int out) {
  for (int n; get(in, n);)
    if (n % prime != 0 && !put(out, n)) break;
  close(in), close(out);
}

struct pipe_ends {
  int in, out;
};

pipe_ends short_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) std::perror("pipe"), std::exit(1);
  fcntl(ends[1], F_SETPIPE_SZ, 4096);  // a page, so that no stage works far ahead of the next
  return {ends[0], ends[1]};
}

int main() {
  std::signal(SIGPIPE, SIG_IGN);
  bide::run([] {
    std::vector<bide::task<void>> stages;
    pipe_ends last = short_pipe();
    stages.push_back(bide::spawn(count, last.out));
    for (int prime; stages.size() <= 50 && get(last.in, prime);) {
      std::printf("%d%c", prime, stages.size() % 10 ? ' ' : '\n');
      const pipe_ends next = short_pipe();
      stages.push_back(bide::spawn(drop_multiples, prime, last.in, next.out));
      last = next;
    }
    close(last.in);
    for (auto& stage : stages) stage.join();
    std::printf("%zu stages have ended\n", stages.size());
  });
}
