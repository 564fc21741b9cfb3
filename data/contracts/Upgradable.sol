// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import {Plain} from "./Odd.sol";

/// A token whose issuer can stop an account, as USDC's can, and says so by `isBlacklisted`. What it is for: coins that are there and cannot
/// be paid out.
contract Stoppable is Plain {
    uint8 public constant decimals = 6;
    mapping(address => bool) public isBlacklisted; // slot 1

    function setBlacklisted(address account, bool stopped) external {
        isBlacklisted[account] = stopped;
    }

    function transfer(address to, uint256 value) external override returns (bool) {
        require(!isBlacklisted[msg.sender], "stopped");
        balances[msg.sender] -= value;
        balances[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }
}

/// The same with other code, as after an upgrade.
contract StoppableAgain is Stoppable {
    function version() external pure returns (uint256) {
        return 2;
    }
}

/// A proxy that keeps its implementation's address where no standard says, and tells nobody when it changes. What it is for: that a token's
/// code is another one has to be noticed all the same.
contract SilentProxy {
    uint256[1000] private gap;
    address private implementation; // slot 1000

    constructor(address implementation_) {
        implementation = implementation_;
    }

    function point(address implementation_) external {
        implementation = implementation_;
    }

    fallback() external payable {
        address to = implementation;
        assembly {
            calldatacopy(0, 0, calldatasize())
            let good := delegatecall(gas(), to, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            if iszero(good) { revert(0, returndatasize()) }
            return(0, returndatasize())
        }
    }
}
