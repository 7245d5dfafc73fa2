#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "kv.h"

int journal_append(int fd, const char *key, const char *value)
{
	char *line;
	int n = asprintf(&line, "%s\t%s\n", key, value), bad;

	if (n < 0)
		return -1;
	flock(fd, LOCK_EX);
	bad = write(fd, line, n) != n || fsync(fd) != 0;
	flock(fd, LOCK_UN);
	free(line);
	return bad ? -1 : 0;
}

int journal_read(int fd, int (*each)(void *, const char *, const char *), void *arg)
{
	FILE *f = fdopen(dup(fd), "r");
	char *line = NULL, *tab;
	size_t size = 0;
	ssize_t n;
	int bad = 0;

	if (!f)
		return -1;
	rewind(f);
	while (!bad && (n = getline(&line, &size, f)) > 0) {
		line[n - 1] = 0;
		tab = strchr(line, '\t');
		if (!tab)
			bad = 1;
		else {
			*tab = 0;
			bad = each(arg, line, tab + 1);
		}
	}
	free(line);
	fclose(f);
	return bad ? -1 : 0;
}
