"$PYTHON" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheels "$CLIENT"
"$PYTHON" -m venv installed
installed/bin/pip install --quiet wheels/factstr-*.whl
cp "$CLIENT/examples/tool_desk.py" .
printf '#!/bin/sh\nexec "%s/installed/bin/python" "%s/tool_desk.py" "$@"\n' "$PWD" "$PWD" > tool-desk
chmod +x tool-desk
