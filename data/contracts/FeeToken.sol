// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import "./Token.sol";

/// A token that keeps a fee of every transfer. What it is for: events that disagree with state. The Transfer event names the
/// full amount, the receiver gets the amount less the fee, and the collector gets the fee without any event: summed events show
/// the receiver too much and the collector too little. Minting and burning take no fee.
contract FeeToken is Token {
    uint256 public immutable feeBasisPoints; // 100 is one percent
    address public immutable collector;

    constructor(
        string memory name_,
        string memory symbol_,
        uint8 decimals_,
        uint256 supply,
        uint256 feeBasisPoints_,
        address collector_
    ) Token(name_, symbol_, decimals_, supply) {
        require(feeBasisPoints_ <= 10_000, "fee above the amount");
        feeBasisPoints = feeBasisPoints_;
        collector = collector_;
    }

    function move(address from, address to, uint256 value) internal override {
        uint256 fee = value * feeBasisPoints / 10_000;
        balanceOf[from] -= value;
        balanceOf[to] += value - fee;
        balanceOf[collector] += fee;
        emit Transfer(from, to, value);
    }
}
