#!/bin/bash
# dist.sh STAGE OUT [deb] makes packages of what make install has put below
# STAGE/usr: a .deb, an .rpm and a tarball, or the first alone. The same commit
# gives the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
stage=$1 out=$2 only=${3-}
mkdir -p "$out"

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# A version of Debian and RPM begins with a digit and has no hyphen.
VERSION=$(git describe --tags --match 'v[0-9]*' 2>/dev/null || true)
if [[ $VERSION ]]; then
	VERSION=${VERSION#v}
	VERSION=${VERSION//-/.}
else
	VERSION=0.0.0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M).$(git rev-parse --short HEAD)
fi
ARCH=${GOARCH:-$(go env GOARCH)}
LICENSE=Apache-2.0
STAGE=$stage/usr
export SOURCE_DATE_EPOCH VERSION ARCH LICENSE STAGE

install -D -m 644 tools/dist/sbx.apparmor "$STAGE/share/sbx/apparmor"
install -D -m 644 LICENSE "$STAGE/share/doc/sbx/copyright"
install -m 644 README.md "$STAGE/share/doc/sbx/"
# As they lie here, for the links between them.
install -D -m 644 -t "$STAGE/share/doc/sbx/docs" docs/*.md
install -D -m 644 -t "$STAGE/share/doc/sbx/docs/tutorials" docs/tutorials/*.md
# Debian's zsh looks here, others' in site-functions.
install -D -m 644 completions/_sbx "$STAGE/share/zsh/vendor-completions/_sbx"
rm -f "$STAGE/bin/sbx-sh" # a link, which the packages make themselves
find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

for kind in ${only:-deb rpm}; do
	go tool -modfile=tools/dist/go.mod nfpm package --config tools/dist/nfpm.yaml --packager "$kind" --target "$out/sbx_${VERSION}_$ARCH.$kind"
done
[[ ! $only ]] || exit 0
ln -s sbx "$STAGE/bin/sbx-sh"
touch -h -d "@$SOURCE_DATE_EPOCH" "$STAGE/bin/sbx-sh" "$STAGE/bin"
tar -C "$stage" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
	--transform="s,^usr,sbx-$VERSION," -cf - usr | gzip -n9 >"$out/sbx_${VERSION}_$ARCH.tar.gz"
ls -l "$out"
