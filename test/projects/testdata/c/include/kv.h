#ifndef KV_H
#define KV_H
#include <stddef.h>

/* A small map from text to text that is kept in a file. */
struct kv;

struct kv *kv_open(const char *path);
const char *kv_get(struct kv *, const char *key);
int kv_set(struct kv *, const char *key, const char *value);
size_t kv_count(struct kv *);
int kv_close(struct kv *);

unsigned long kv_hash(const char *text);
int journal_append(int fd, const char *key, const char *value);
int journal_read(int fd, int (*each)(void *arg, const char *key, const char *value), void *arg);
#endif
