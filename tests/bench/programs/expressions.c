/* Some hundred functions for the C compiler, made by macros: loops, switches, structures. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct item { uint32_t key; double weight; struct item *next; char name[24]; };

#define FUNCTION(n)                                                                       \
    static double sum_##n(const struct item *item, size_t count) {                        \
        double total = n;                                                                 \
        for (size_t i = 0; i < count && item; i++, item = item->next) {                   \
            switch (item->key % 7) {                                                      \
            case 0: total += item->weight * n; break;                                     \
            case 1: total -= item->weight / (n + 1); break;                               \
            case 2: total *= 1.0 + item->weight / 1000; break;                            \
            case 3: if (strlen(item->name) > n % 20) total += 1; break;                   \
            default: total += (double)(item->key ^ (uint32_t)(n * 2654435761u));          \
            }                                                                             \
        }                                                                                 \
        return total;                                                                     \
    }                                                                                     \
    uint32_t mix_##n(uint32_t *words, size_t count) {                                     \
        uint32_t hash = n;                                                                \
        for (size_t i = 0; i < count; i++) {                                              \
            hash = (hash << 5 | hash >> 27) ^ words[i] * (2 * n + 1);                     \
            if (hash % (n + 3) == 0) words[i] = hash; else hash += words[count - 1 - i];  \
        }                                                                                 \
        return hash;                                                                      \
    }                                                                                     \
    int print_##n(const struct item *item) {                                              \
        return printf("%s %u %f\n", item->name, item->key, sum_##n(item, item->key));     \
    }

#define TEN(n) FUNCTION(n##0) FUNCTION(n##1) FUNCTION(n##2) FUNCTION(n##3) FUNCTION(n##4) \
    FUNCTION(n##5) FUNCTION(n##6) FUNCTION(n##7) FUNCTION(n##8) FUNCTION(n##9)

TEN(1) TEN(2) TEN(3) TEN(4) TEN(5)
