/* What libgenesis_mem.so offers beside the allocation functions of <stdlib.h> and <malloc.h>. */
#ifndef GENESIS_MEM_H
#define GENESIS_MEM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library, such as "0.1.0". */
const char *genesis_mem_version(void);

/* Writes the statistics as JSON to a file descriptor. Returns 0, or -1 and errno. */
int genesis_mem_stats_fd(int descriptor);

/* Writes the statistics as JSON into buffer, cut to `bytes` bytes with the zero at the end, as
   snprintf does. Returns how long the whole text is, without the zero. */
size_t genesis_mem_stats_json(char *buffer, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
