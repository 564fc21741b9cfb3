// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// What the odd tokens below have in common: balances, minting by anybody, transfers with events. `balances` is at slot 0.
/// No `decimals`, no `symbol`: see NoDecimals.
abstract contract Plain {
    mapping(address => uint256) internal balances; // slot 0

    event Transfer(address indexed from, address indexed to, uint256 value);

    function balanceOf(address account) public view virtual returns (uint256) {
        return balances[account];
    }

    function mint(address to, uint256 value) external virtual {
        balances[to] += value;
        emit Transfer(address(0), to, value);
    }

    function transfer(address to, uint256 value) external virtual returns (bool) {
        balances[msg.sender] -= value;
        balances[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }
}

/// A token with no `decimals()` function, as the standard allows. What it is for: decimals come from the asset registry and
/// must never be guessed from a failed call.
contract NoDecimals is Plain {}

/// A token whose `balanceOf` reverts while a switch is on. What it is for: a balance that can't be read is unknown, not zero.
contract RevertingBalance is Plain {
    uint8 public constant decimals = 18;
    bool public broken;

    function setBroken(bool broken_) external {
        broken = broken_;
    }

    function balanceOf(address account) public view override returns (uint256) {
        require(!broken, "broken");
        return balances[account];
    }
}

/// A token that misbehaves in `balanceOf`, in the way that is switched on. What it is for: a reader of balances has to survive it.
contract HostileBalance is Plain {
    uint8 public constant decimals = 18;
    uint256 public mode;

    /// 0: behaves. 1: burns all the gas it gets. 2: answers with a megabyte. 3: answers with 31 bytes. 4: answers with nothing.
    /// 5: reverts with 100,000 bytes. 6: answers with 64 bytes, the balance first.
    function setMode(uint256 mode_) external {
        mode = mode_;
    }

    function balanceOf(address account) public view override returns (uint256) {
        uint256 how = mode;
        uint256 held = balances[account];
        assembly {
            switch how
            case 1 { invalid() }
            case 2 { return(0, 1048576) }
            case 3 { return(0, 31) }
            case 4 { return(0, 0) }
            case 5 { revert(0, 100000) }
            case 6 {
                mstore(0, held)
                mstore(32, 7)
                return(0, 64)
            }
        }
        return held;
    }
}

/// A token that mints without any event. What it is for: a credit that only the state shows.
contract SilentMint is Plain {
    uint8 public constant decimals = 18;

    function mint(address to, uint256 value) external override {
        balances[to] += value;
    }
}

/// A token that emits Transfer events although nothing moves. What it is for: an event is no proof of a balance. `mint` is
/// honest; `transfer` moves nothing; `lie` announces any transfer between anybody.
contract LyingToken is Plain {
    uint8 public constant decimals = 18;

    function transfer(address to, uint256 value) external override returns (bool) {
        emit Transfer(msg.sender, to, value);
        return true;
    }

    function lie(address from, address to, uint256 value) external {
        emit Transfer(from, to, value);
    }
}

/// A collectible in the manner of ERC-721. What it is for: its Transfer event has the same first topic as ERC-20's, but four topics
/// and no data. It is no amount and must never be read as one.
contract Nft721 {
    mapping(uint256 => address) public ownerOf;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);

    function mint(address to, uint256 tokenId) external {
        require(ownerOf[tokenId] == address(0), "exists");
        ownerOf[tokenId] = to;
        balanceOf[to] += 1;
        emit Transfer(address(0), to, tokenId);
    }

    function transferFrom(address from, address to, uint256 tokenId) external {
        require(msg.sender == from && ownerOf[tokenId] == from, "not the owner");
        ownerOf[tokenId] = to;
        balanceOf[from] -= 1;
        balanceOf[to] += 1;
        emit Transfer(from, to, tokenId);
    }
}
