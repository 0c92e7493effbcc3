# A module proxy of our own serves the module as a zip: what is not in it is not there. Its version is of this run alone,
# because Go keeps every version that it has seen.
module=github.com/factstr/factstr-grpc/clients/go
version=v0.1.0-try.$(date +%s)
versions=$PWD/proxy/$module/@v
mkdir -p "$versions"
(cd "$CLIENT" && find . -type f | sed "s|^./||") |
  "$PYTHON" -c '
import sys, zipfile
client, prefix, path = sys.argv[1:]
with zipfile.ZipFile(path, "w") as archive:
    for line in sys.stdin:
        archive.write(f"{client}/{line.strip()}", f"{prefix}/{line.strip()}")
' "$CLIENT" "$module@$version" "$versions/$version.zip"
cp "$CLIENT/go.mod" "$versions/$version.mod"
echo "{\"Version\": \"$version\"}" > "$versions/$version.info"
echo "$version" > "$versions/list"

mkdir desk
cp "$CLIENT/examples/tool-desk/main.go" desk
cd desk
GOPROXY="file://${versions%/"$module"/@v},$(go env GOPROXY)"
export GOPROXY GONOSUMDB=$module GOFLAGS=-modcacherw
go mod init example.com/desk
go get "$module@$version"
go mod tidy
go build -o ../tool-desk .
rm -rf "$(go env GOMODCACHE)/$module@$version" "$(go env GOMODCACHE)/cache/download/$module"
