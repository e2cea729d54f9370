// Frames of all kinds that compilers make. Each function calls back with frames below it.
#include <alloca.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef void (*callback)(void *);

static void touch(void *memory) { __asm__ volatile("" ::"r"(memory) : "memory"); }

__attribute__((noinline)) int plain(callback call, void *data, int depth) {
    if (depth > 0) return plain(call, data, depth - 1) + 1;
    call(data);
    return 0;
}

// Its size is known only when it runs.
__attribute__((noinline)) int variable(callback call, void *data, int bytes) {
    char *room = alloca(bytes);
    memset(room, 1, bytes);
    touch(room);
    int result = plain(call, data, 2);
    touch(room);
    return result + room[bytes - 1];
}

// Aligned beyond what the caller guarantees, of a size that is known only when it runs.
__attribute__((noinline)) int aligned(callback call, void *data, int bytes) {
    __attribute__((aligned(128))) char room[256];
    char *more = alloca(bytes);
    memset(more, 1, bytes);
    touch(room);
    touch(more);
    int result = variable(call, data, bytes);
    touch(room);
    return result + more[0];
}

// With stack arguments, and more pages than one.
__attribute__((noinline)) int large(long a, long b, long c, long d, long e, long f, callback call,
                                    void *data) {
    char room[100000];
    memset(room, (int)(a + b + c), sizeof room);
    touch(room);
    int result = aligned(call, data, 300 + (int)(d + e + f));
    touch(room);
    return result + room[5];
}

static callback sorted_call;
static void *sorted_data;

static int compare(const void *left, const void *right) {
    if (sorted_call) {
        sorted_call(sorted_data);
        sorted_call = NULL;
    }
    return *(const int *)left - *(const int *)right;
}

// Through the C library.
__attribute__((noinline)) int sorting(callback call, void *data) {
    int numbers[] = {3, 1, 2, 9, 8, 7};
    sorted_call = call;
    sorted_data = data;
    qsort(numbers, 6, sizeof *numbers, compare);
    touch(numbers);
    return numbers[0];
}

int every_kind(callback call, void *data) {
    return large(1, 2, 3, 4, 5, 6, call, data) + sorting(call, data);
}

#ifdef GARBAGE
// No tables, and whatever the caller says in the frame pointer.
void garbage(callback call, void *data, void *frame);
__asm__(".text\n.globl garbage\n.type garbage,@function\ngarbage:\n"
        "push %rbp\nmov %rdi, %rax\nmov %rsi, %rdi\nmov %rdx, %rbp\ncall *%rax\npop %rbp\nret\n");
#endif
