#!/bin/sh
# packaging/debian/build.sh WHEEL FOLDER: a Debian package of a wheel, for the Debian or Ubuntu that it is built on.
set -eu
wheel=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
top=$(realpath "$(dirname "$0")/../..")
version=$(basename "$wheel" | cut -d- -f2)
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1577836800}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/ssbfast-$version
mkdir "$tree"
cp -r "$top/packaging/debian" "$tree/debian"
cd "$tree/debian"
cp "$top/.github/requirements/room.txt" "$top/packaging/man_pages.py" "$top/packaging/room.toml" .
for unit in service socket; do
    cp "$top/packaging/systemd/ssbfast-room.$unit" "ssbfast.ssbfast-room.$unit"
done
cp "$top/packaging/systemd/sysusers.conf" ssbfast.sysusers
cp "$top/packaging/systemd/tmpfiles.conf" ssbfast.tmpfiles
echo 'debian/man/*.1' >ssbfast.manpages
cat >changelog <<TEXT
ssbfast ($version-1) unstable; urgency=medium

  * See https://github.com/ssbfast/ssbfast/blob/main/CHANGELOG.md

 -- The ssbfast maintainers <maintainers@ssbfast.invalid>  $(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
TEXT
cd ..
WHEEL=$wheel dpkg-buildpackage --build=binary --no-sign >&2
mv "$work"/ssbfast_*.deb "$out"
ls "$out"/ssbfast_*.deb
