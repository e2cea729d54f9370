/* Results, errors and errno of every function, as the standards and glibc have them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "genesis_mem.h"

static int failures;

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            failures++;                                                                   \
            printf("line %d: %s does not hold (errno %d)\n", __LINE__, #condition, errno); \
        }                                                                                 \
    } while (0)

/* The call returns null with that errno. */
#define FAILS(call, code)         \
    do {                          \
        errno = 0;                \
        CHECK((call) == NULL);    \
        CHECK(errno == (code));   \
    } while (0)

static int is_aligned(const void *block, size_t align) { return (uintptr_t)block % align == 0; }

static int is_filled(const unsigned char *block, int value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != value) return 0;
    return 1;
}

/* Sizes beyond what an object may have; volatile, since the compiler would warn. */
static volatile size_t too_large = (size_t)PTRDIFF_MAX + 1, largest = SIZE_MAX, half = SIZE_MAX / 2;

static void allocation(void) {
    for (size_t bytes = 0; bytes < 4 << 20; bytes = bytes * 9 / 8 + 1) {
        unsigned char *block = malloc(bytes);
        CHECK(block && is_aligned(block, 16));
        CHECK(malloc_usable_size(block) >= bytes);
        memset(block, 0xa5, malloc_usable_size(block));
        unsigned char *zero = calloc(1, bytes);
        CHECK(zero && is_aligned(zero, 16) && is_filled(zero, 0, bytes));
        memset(zero, 0x5a, bytes);
        CHECK(is_filled(block, 0xa5, bytes));
        free(block);
        free(zero);
        /* The same blocks, which are dirty now. */
        zero = calloc(bytes, 1);
        CHECK(zero && is_filled(zero, 0, bytes));
        free(zero);
    }
    void *one = malloc(0), *two = malloc(0);
    CHECK(one && two && one != two);
    free(one);
    free(two);
    FAILS(malloc(too_large), ENOMEM);
    FAILS(malloc(largest), ENOMEM);
    FAILS(malloc(PTRDIFF_MAX), ENOMEM);
    FAILS(calloc(half, 3), ENOMEM);
    FAILS(calloc(1, largest), ENOMEM);
    FAILS(calloc(1, too_large), ENOMEM);
}

static void freeing(void) {
    errno = 1234;
    free(NULL);
    free(malloc(10));
    free(malloc(64 << 20));
    CHECK(errno == 1234);
    void (*cfree_)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
    void (*free_sized_)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    void (*free_aligned_sized_)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    CHECK(cfree_ && free_sized_ && free_aligned_sized_);
    cfree_(malloc(100));
    cfree_(NULL);
    free_sized_(malloc(100), 100);
    free_sized_(NULL, 0);
    free_aligned_sized_(aligned_alloc(256, 512), 256, 512);
    free_aligned_sized_(NULL, 256, 512);
    CHECK(malloc_usable_size(NULL) == 0);
}

static void reallocation(void) {
    unsigned char *block = realloc(NULL, 100);
    CHECK(block);
    memset(block, 7, 100);
    size_t kept = 100;
    for (size_t bytes = 1; bytes < 100 << 20; bytes *= 3) {
        unsigned char *moved = realloc(block, bytes);
        CHECK(moved && is_aligned(moved, 16));
        CHECK(is_filled(moved, 7, bytes < kept ? bytes : kept));
        memset(moved, 7, bytes);
        block = moved;
        kept = bytes;
    }
    block = realloc(block, 10);
    CHECK(block && is_filled(block, 7, 10));
    FAILS(realloc(block, too_large), ENOMEM);
    FAILS(realloc(block, largest), ENOMEM);
    FAILS(reallocarray(block, half, 3), ENOMEM);
    CHECK(is_filled(block, 7, 10));
    block = reallocarray(block, 10, 1000);
    CHECK(block && is_filled(block, 7, 10));
    /* glibc frees. */
    errno = 0;
    CHECK(realloc(block, 0) == NULL && errno == 0);
    block = reallocarray(NULL, 3, 5);
    CHECK(block && reallocarray(block, 0, 5) == NULL);
    CHECK((block = realloc(NULL, 0)) != NULL);
    free(block);
    /* The contents of an aligned block move as well. */
    block = aligned_alloc(4096, 8192);
    memset(block, 9, 8192);
    block = realloc(block, 100000);
    CHECK(block && is_filled(block, 9, 8192));
    free(block);
}

static void alignment(void) {
    for (size_t align = 1; align <= (size_t)1 << 30; align *= 2) {
        void *block = aligned_alloc(align, align);
        CHECK(block && is_aligned(block, align) && malloc_usable_size(block) >= align);
        free(block);
        block = memalign(align, 33);
        CHECK(block && is_aligned(block, align));
        memset(block, 1, 33);
        free(block);
        if (align >= sizeof(void *)) {
            CHECK(posix_memalign(&block, align, 100) == 0 && is_aligned(block, align));
            memset(block, 1, 100);
            free(block);
        }
    }
    FAILS(aligned_alloc(24, 64), EINVAL);
    FAILS(aligned_alloc(24, 48), EINVAL);
    FAILS(aligned_alloc(0, 64), EINVAL);
    void *odd = aligned_alloc(64, 100);
    CHECK(odd && (size_t)odd % 64 == 0);
    free(odd);
    FAILS(aligned_alloc(64, largest - 63), ENOMEM);
    FAILS(aligned_alloc((size_t)1 << 63, 0), ENOMEM);

    void *block = &block;
    errno = 1234;
    CHECK(posix_memalign(&block, 24, 64) == EINVAL);
    CHECK(posix_memalign(&block, 0, 64) == EINVAL);
    CHECK(posix_memalign(&block, 4, 64) == EINVAL);
    CHECK(posix_memalign(&block, 64, largest) == ENOMEM);
    CHECK(posix_memalign(&block, (size_t)1 << 62, 64) == ENOMEM);
    CHECK(posix_memalign(&block, 16, too_large) == ENOMEM);
    CHECK(block == &block && errno == 1234);
    CHECK(posix_memalign(&block, 64, 0) == 0 && block && is_aligned(block, 64));
    free(block);

    /* An alignment is rounded up. */
    block = memalign(24, 64);
    CHECK(block && is_aligned(block, 32));
    free(block);
    block = memalign(0, 64);
    CHECK(block && is_aligned(block, 16));
    free(block);
    FAILS(memalign(largest, 64), EINVAL);
    FAILS(memalign(64, largest), ENOMEM);

    size_t page = sysconf(_SC_PAGESIZE);
    block = valloc(10);
    CHECK(block && is_aligned(block, page));
    free(block);
    block = pvalloc(page + 1);
    CHECK(block && is_aligned(block, page) && malloc_usable_size(block) >= 2 * page);
    free(block);
    block = pvalloc(0);
    CHECK(block && is_aligned(block, page));
    free(block);
    FAILS(valloc(largest), ENOMEM);
    FAILS(pvalloc(largest), ENOMEM);
    FAILS(pvalloc(too_large), ENOMEM);
}

static void reports(void) {
    size_t large = 10 << 20;
    void *block = malloc(large);
    struct mallinfo2 info = mallinfo2();
    CHECK(info.uordblks >= large && info.hblkhd >= large && info.hblks >= 1);
    CHECK(info.arena + info.hblkhd == info.uordblks + info.fordblks);
    struct mallinfo narrow = mallinfo();
    CHECK(narrow.uordblks >= (int)large);
    memset(block, 1, large);
    free(block);
    CHECK(malloc_trim(0) == 1);
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);

    const char *(*version)(void) = (const char *(*)(void))dlsym(RTLD_DEFAULT, "genesis_mem_version");
    size_t (*json)(char *, size_t) =
        (size_t (*)(char *, size_t))dlsym(RTLD_DEFAULT, "genesis_mem_stats_json");
    int (*to)(int) = (int (*)(int))dlsym(RTLD_DEFAULT, "genesis_mem_stats_fd");
    CHECK(version && json && to && strchr(version(), '.'));
    size_t bytes = json(NULL, 0);
    char *text = malloc(bytes + 100);
    size_t again = json(text, bytes + 100);
    CHECK(again >= 100 && strlen(text) == again && text[0] == '{' && text[again - 1] == '}');
    char start[11];
    memset(start, 'x', sizeof start);
    CHECK(json(start, 10) >= 100 && strcmp(start, "{\"version") == 0 && start[10] == 'x');
    free(text);
    errno = 0;
    CHECK(to(-1) == -1 && errno == EBADF);
}

int main(int count, char **words) {
    if (count > 1 && strcmp(words[1], "stats") == 0) {
        malloc_stats();
        return 0;
    }
    allocation();
    freeing();
    reallocation();
    alignment();
    reports();
    printf("%d failures\n", failures);
    return failures > 0;
}
