// Leaks by every function that allocates, in the program, in a forked child and in one that it starts.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *kept[16];

__attribute__((noinline)) static void leak_malloc(void) { kept[0] = malloc(1001); }
__attribute__((noinline)) static void leak_calloc(void) { kept[1] = calloc(7, 151); }
__attribute__((noinline)) static void leak_realloc(void) { kept[2] = realloc(malloc(10), 5003); }
__attribute__((noinline)) static void leak_aligned(void) { kept[3] = aligned_alloc(256, 3007); }
__attribute__((noinline)) static void leak_memalign(void) {
    if (posix_memalign(&kept[4], 4096, 9011)) abort();
}
__attribute__((noinline)) static void leak_large(void) { kept[5] = malloc(3000017); }
__attribute__((noinline)) static void leak_strdup(void) { kept[6] = strdup("sixteen letters!"); }

int main(int count, char **arguments) {
    if (count > 1) {
        kept[7] = malloc(7001);
        return 0;
    }
    for (int round = 0; round < 1000; round++) free(malloc(round));
    leak_malloc(), leak_calloc(), leak_realloc(), leak_aligned(), leak_memalign(), leak_large(), leak_strdup();
    pid_t forked = fork();
    if (forked == 0) {
        kept[8] = malloc(8009);
        exit(0);
    }
    int status;
    if (waitpid(forked, &status, 0) != forked || status != 0) abort();
    pid_t started = fork();
    if (started == 0) {
        execl("/proc/self/exe", arguments[0], "again", (char *)NULL);
        abort();
    }
    if (waitpid(started, &status, 0) != started || status != 0) abort();
    printf("%d %d\n", forked, started);
    return 0;
}
