#!/usr/bin/env python3
"""Compares assets.toml with published token lists, fetched by package name with `npm pack` into a temporary folder.

Every token has to stand in at least two lists of different origin with the decimals that assets.toml gives, or carry the comment
`# one list: NAME`, naming one that has it. Exits with 1 when an entry is wrong or its mark is, with 0 otherwise. It needs Python
3.11.4 or newer, npm, and 130 MB of downloads, nearly all of them sonarwatch's.
"""

import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

# name: package, version, reader of the unpacked folder, giving (chain id, address, symbol, decimals)
LISTS = {
    "uniswap": ("@uniswap/default-token-list", "22.21.0", lambda d: token_list(d / "build/uniswap-default.tokenlist.json")),
    "sushiswap": ("@sushiswap/default-token-list", "43.3.0", lambda d: token_list(d / "build/sushiswap-default.tokenlist.json")),
    "aave": ("@aave-dao/aave-address-book", "4.68.1", lambda d: token_list(d / "tokenlist.json")),
    "pancakeswap": ("@pancakeswap/tokens", "0.9.1", lambda d: pancakeswap(d / "src/constants")),
    "metamask": ("@metamask/contract-metadata", "2.5.0", lambda d: metamask(d / "contract-map.json")),
    "yodl": ("@yodlpay/tokenlists", "0.8.40", lambda d: token_list(d / "dist/tokenlist-generated.json")),
    "quickswap": ("quickswap-default-token-list", "1.2.59", lambda d: token_list(d / "build/quickswap-default.tokenlist.json")),
    "sonarwatch": ("@sonarwatch/token-lists", "1.24.84", lambda d: sonarwatch(d / "build")),
}
COINGECKO = {"yodl", "sonarwatch"}  # both carry its ids: together they count once
SONARWATCH_CHAINS = ("ethereum", "optimism", "bnb", "polygon", "base", "arbitrum", "avalanche")
PANCAKESWAP_CHAINS = {"ETHEREUM": 1, "BSC": 56, "BASE": 8453, "ARBITRUM_ONE": 42161}
TOKEN = re.compile(r"eip155:(\d+)/erc20:(0x[0-9a-f]{40})")
NATIVE = re.compile(r"(eip155:\d+|bip122:[0-9a-f]{32})/slip44:\d+")
MARK = re.compile(r"# one list: (\w+)")


def token_list(path):
    for token in json.loads(path.read_text())["tokens"]:
        yield token["chainId"], token["address"], token["symbol"], token["decimals"]


def sonarwatch(folder):
    for chain in SONARWATCH_CHAINS:
        yield from token_list(folder / f"sonarwatch.{chain}.tokenlist.json")


def metamask(path):
    for address, token in json.loads(path.read_text()).items():
        if token.get("erc20"):
            yield 1, address, token["symbol"], token["decimals"]


def pancakeswap(folder):
    entry = re.compile(r"new ERC20Token\(\s*ChainId\.(\w+),\s*'(0x[0-9a-fA-F]{40})',\s*(\d+),\s*'([^']*)'")
    for path in sorted(folder.glob("*.ts")):
        for chain, address, decimals, symbol in entry.findall(path.read_text()):
            if chain in PANCAKESWAP_CHAINS:
                yield PANCAKESWAP_CHAINS[chain], address, symbol, int(decimals)


def published():
    """(chain id, address) -> {list: (symbol, decimals)}"""
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, (package, version, read) in LISTS.items():
            folder = Path(temporary) / name
            folder.mkdir()
            print(f"fetching {package} {version}", file=sys.stderr)
            subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            with tarfile.open(next(folder.glob("*.tgz"))) as archive:
                archive.extractall(folder, filter="data")
            for chain, address, symbol, decimals in read(folder / "package"):
                found.setdefault((chain, address.lower()), {})[name] = (symbol, decimals)
    return found


def main():
    path = Path(__file__).with_name("assets.toml")
    text = path.read_text()
    assets = tomllib.loads(text)["asset"]
    marks = {}
    for line in text.splitlines():
        if token := TOKEN.search(line):
            mark = MARK.search(line)
            marks[token[0]] = mark and mark[1]
    lists = published()

    wrong, seen, tokens = [], set(), 0
    for asset in assets:
        if asset["symbol"] in seen:
            wrong.append(f"{asset['symbol']}: twice")
        seen.add(asset["symbol"])
        for entry in asset["on"]:
            where = f"{asset['symbol']} {entry['id']}"
            if entry["id"] in seen:
                wrong.append(f"{where}: twice")
            seen.add(entry["id"])
            if NATIVE.fullmatch(entry["id"]):
                continue
            token = TOKEN.fullmatch(entry["id"])
            if not token:
                wrong.append(f"{where}: not a CAIP-19 id in lower case")
                continue
            tokens += 1
            has = lists.get((int(token[1]), token[2]), {})
            same = sorted(name for name, (_, decimals) in has.items() if decimals == entry["decimals"])
            for name, (_, decimals) in has.items():
                if decimals != entry["decimals"]:
                    wrong.append(f"{where}: {entry['decimals']} decimals, {name} says {decimals}")
            mark = marks[entry["id"]]
            origins = {"coingecko" if name in COINGECKO else name for name in same}
            if len(origins) >= 2 and mark:
                wrong.append(f"{where}: marked, but {', '.join(same)} have it")
            if len(origins) < 2 and mark not in same:
                wrong.append(f"{where}: in {', '.join(same) or 'no list'}, and marked {mark or 'not at all'}")
            if {symbol.lower() for symbol, _ in has.values()} != {asset["symbol"].lower()}:
                print(f"{where}, elsewhere named: " + ", ".join(f"{name} {symbol}" for name, (symbol, _) in sorted(has.items())))
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    print(f"{len(assets)} assets, {tokens} tokens, {len(LISTS)} lists, {len(wrong)} errors")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
