#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kv.h"

int main(int argc, char **argv)
{
	struct kv *kv;
	const char *value;

	if (argc == 2 && strcmp(argv[1], "crash") == 0)
		abort();
	if (argc < 4 || !(kv = kv_open(argv[1]))) {
		fprintf(stderr, "usage: kv FILE get KEY | set KEY VALUE\n");
		return 2;
	}
	if (strcmp(argv[2], "set") == 0 && argc == 5)
		return kv_set(kv, argv[3], argv[4]) || kv_close(kv);
	value = kv_get(kv, argv[3]);
	if (value)
		puts(value);
	return kv_close(kv) || !value;
}
