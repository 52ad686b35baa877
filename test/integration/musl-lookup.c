/* musl-lookup NAME...: the addresses that getaddrinfo(3) of the C library has for each name, sorted by it. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_CANONNAME}, *all = 0;
    int error = getaddrinfo(argv[i], 0, &hints, &all);
    if (error) {
      printf("%s: %s\n", argv[i], gai_strerror(error));
      continue;
    }
    for (struct addrinfo *one = all; one; one = one->ai_next) {
      char text[INET6_ADDRSTRLEN];
      void *address = one->ai_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr
                                                 : (void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr;
      printf("%s: %s\n", argv[i], inet_ntop(one->ai_family, address, text, sizeof text));
    }
    freeaddrinfo(all);
  }
  return 0;
}
