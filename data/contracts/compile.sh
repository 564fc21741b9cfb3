#!/usr/bin/env bash
# Compiles the contracts in this folder again into build/, one small JSON file for each contract (abi, bytecode).
#   compile.sh           writes build/
#   compile.sh --check   writes nothing; fails when build/ differs from what the sources give
# It needs node and npm, and fetches the pinned compiler into a temporary folder. The output is reproducible: same compiler, same
# settings, no metadata hash.
set -euo pipefail

SOLC=0.8.30   # the npm package `solc`

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case "${1:-}" in
  '' | --check) ;;
  *) echo "usage: compile.sh [--check]" >&2; exit 2 ;;
esac
for tool in node npm; do
  command -v "$tool" >/dev/null || { echo "error: $tool is not installed" >&2; exit 2; }
done

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
npm install --prefix "$tmp" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error "solc@$SOLC" >&2
cat >"$tmp/compile.js" <<'JS'
const fs = require('fs'), path = require('path'), solc = require('solc');
const [, , source, out] = process.argv;
const sources = {};
for (const name of fs.readdirSync(source).filter((n) => n.endsWith('.sol')).sort())
  sources[name] = { content: fs.readFileSync(path.join(source, name), 'utf8') };
const input = {
  language: 'Solidity',
  sources,
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: 'paris', // no PUSH0, no MCOPY: runs on every chain and under every hardfork since 2022
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors || []).filter((e) => e.severity === 'error');
for (const e of errors) console.error(e.formattedMessage);
if (errors.length) process.exit(1);
fs.mkdirSync(out, { recursive: true });
for (const file of Object.keys(output.contracts).sort())
  for (const [name, c] of Object.entries(output.contracts[file])) {
    if (!c.evm.bytecode.object) continue; // an interface or an abstract contract
    const fields = [
      '  "abi": [' + c.abi.map((item) => '\n    ' + JSON.stringify(item)).join(',') + (c.abi.length ? '\n  ]' : ']'),
      '  "bytecode": ' + JSON.stringify('0x' + c.evm.bytecode.object),
    ];
    // this one is never deployed: its code is put in place by the call that uses it
    if (name === 'BalanceReader') fields.push('  "runtime": ' + JSON.stringify('0x' + c.evm.deployedBytecode.object));
    fs.writeFileSync(path.join(out, name + '.json'), '{\n' + fields.join(',\n') + '\n}\n');
  }
JS
NODE_PATH="$tmp/node_modules" node "$tmp/compile.js" "$here" "$tmp/build"

if [ "${1:-}" = --check ]; then
  diff -r "$here/build" "$tmp/build" >&2 || { echo "error: build/ is not what the sources give: run compile.sh" >&2; exit 1; }
  echo "build/ is what the sources give" >&2
else
  rm -rf "$here/build"
  cp -r "$tmp/build" "$here/build"
  echo "wrote $(ls "$here/build" | wc -l) files into build/" >&2
fi
