(cd "$CLIENT" && npm ci --silent --no-audit --no-fund && npm pack --silent --pack-destination "$OLDPWD")
mkdir desk
cp "$CLIENT/examples/tool-desk.ts" desk
cd desk
echo '{"name": "desk", "private": true, "type": "module"}' > package.json
cat > tsconfig.json <<JSON
{"compilerOptions": {"module": "nodenext", "target": "es2022", "strict": true, "types": ["node"]}}
JSON
npm install --silent --no-audit --no-fund ../factstr-client-0.1.0.tgz typescript@5 @types/node@20
npx tsc
printf '#!/bin/sh\nexec node "%s/tool-desk.js" "$@"\n' "$PWD" > ../tool-desk
chmod +x ../tool-desk
