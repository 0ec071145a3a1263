// contract-introduce [--release] DOMID: tells xenstored of a domain, as a toolstack does when it
// has built one, or that it is gone. For places that have an xenstored and no toolstack.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/contract/abi/handles.hpp"

int main(int argc, char** argv) {
  const bool release = argc == 3 && std::strcmp(argv[1], "--release") == 0;
  if (argc != 2 && !release) {
    std::fprintf(stderr, "usage: contract-introduce [--release] DOMID\n");
    return 2;
  }
  const vmsg::contract::StoreHandle store(xs_open(0));
  if (!store) {
    std::perror("contract-introduce: xs_open");
    return 1;
  }
  const auto domain = static_cast<unsigned>(std::strtoul(argv[argc - 1], nullptr, 10));
  constexpr unsigned long kFrame =
      1;  // nobody looks at it: the ring is found by the domain's number
  constexpr unsigned kPort = 1;
  const bool done = release ? xs_release_domain(store.get(), domain)
                            : xs_introduce_domain(store.get(), domain, kFrame, kPort);
  if (!done) std::perror("contract-introduce");
  return done ? 0 : 1;
}
