# needs: tar gzip bzip2 xz zstd rsync patch diff find xargs sed awk cmp
mkdir -p src/deep
for i in 1 2 3; do seq "$i"000 >"src/deep/$i"; done
ln src/deep/1 src/hard
ln -s deep/2 src/soft
touch -d 2001-02-03T04:05:06Z src/deep/3
chmod 750 src/deep
for z in gzip bzip2 xz zstd; do
	tar -c --use-compress-program="$z" -f "$z.tar" src
	mkdir "$z"
	tar -x --use-compress-program="$z -d" -f "$z.tar" -C "$z"
	diff -r src "$z/src"
	test "$(stat -c %Y-%a "$z/src/deep/3" "$z/src/deep")" = "$(stat -c %Y-%a src/deep/3 src/deep)"
	test "$z/src/deep/1" -ef "$z/src/hard"
done
rsync -aH --delete --checksum src/ copy/
rsync -aHi src/ copy/ | wc -l | grep -x 0
sed -i 's/^7$/seven/' src/deep/1
diff -ur copy src >change.diff || test $? = 1
patch -p1 -d copy <change.diff
diff -r copy src
find src -type f -print0 | xargs -0 -P2 -n1 awk '{ n += $1 } END { print FILENAME, n }' | sort | sed -n '1s/ .*//p' | grep -x src/deep/1
