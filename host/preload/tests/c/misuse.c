/* Does one wrong thing, named by its argument, which must end the program. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static char outside[64];
/* Seen from outside, so that the compiler keeps every block. */
char *volatile neighbour;

int main(int count, char **words) {
    const char *kind = count > 1 ? words[1] : "";
    /* A neighbour, so that the slab stays in use. */
    neighbour = malloc(100);
    char *block = malloc(100), *large = malloc(1 << 20);
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(block, 1, 100);
    if (strcmp(kind, "none") == 0) {
        free(block);
        free(large);
    } else if (strcmp(kind, "double") == 0) {
        free(block);
        free(block);
    } else if (strcmp(kind, "double-later") == 0) {
        char *other = malloc(100);
        free(block);
        free(other);
        free(block);
    } else if (strcmp(kind, "double-large") == 0) {
        free(large);
        free(large);
    } else if (strcmp(kind, "interior") == 0) {
        free(block + 16);
    } else if (strcmp(kind, "misaligned") == 0) {
        free(block + 3);
    } else if (strcmp(kind, "interior-large") == 0) {
        free(large + 65536);
    } else if (strcmp(kind, "stack") == 0) {
        char local[64];
        free(local);
    } else if (strcmp(kind, "static") == 0) {
        free(outside);
    } else if (strcmp(kind, "mapped") == 0) {
        free(mapped);
    } else if (strcmp(kind, "wild") == 0) {
        free((void *)0x123456789abcdef0);
    } else if (strcmp(kind, "realloc-freed") == 0) {
        free(block);
        block = realloc(block, 1000);
    } else if (strcmp(kind, "realloc-foreign") == 0) {
        block = realloc(outside, 1000);
    } else if (strcmp(kind, "usable-freed") == 0) {
        free(block);
        printf("%zu\n", malloc_usable_size(block));
    } else if (strcmp(kind, "usable-foreign") == 0) {
        printf("%zu\n", malloc_usable_size(outside));
    } else if (strcmp(kind, "overwritten") == 0) {
        free(block);
        memset(block, 0xff, 8);
        for (int i = 0; i < 10000; i++) neighbour = malloc(100);
    } else {
        return 2;
    }
    puts("still here");
    return 0;
}
