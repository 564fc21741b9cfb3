// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// A token whose balances grow or shrink by themselves, like stETH or AMPL. What it is for: balances that change with no event at
/// all. An account owns shares; its balance is shares times an index, rounded down. `rebase(num, den)` multiplies the index by
/// num/den, and with it everybody's `balanceOf`, silently. Transfer events are in tokens; a transfer can move one unit less than
/// it names, by rounding. Anybody may mint and rebase.
contract RebasingToken {
    string public name;
    string public symbol;
    uint8 public decimals;
    uint256 public index = 1e18; // tokens per share, times 1e18
    uint256 public totalShares;
    mapping(address => uint256) public sharesOf; // slot 5
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    constructor(string memory name_, string memory symbol_, uint8 decimals_, uint256 supply) {
        name = name_;
        symbol = symbol_;
        decimals = decimals_;
        mint(msg.sender, supply);
    }

    function rebase(uint256 num, uint256 den) external {
        index = index * num / den;
    }

    function balanceOf(address account) public view returns (uint256) {
        return sharesOf[account] * index / 1e18;
    }

    function totalSupply() external view returns (uint256) {
        return totalShares * index / 1e18;
    }

    function mint(address to, uint256 value) public {
        uint256 shares = value * 1e18 / index;
        totalShares += shares;
        sharesOf[to] += shares;
        emit Transfer(address(0), to, value);
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - value;
        move(from, to, value);
        return true;
    }

    function move(address from, address to, uint256 value) internal {
        uint256 shares = value * 1e18 / index;
        sharesOf[from] -= shares;
        sharesOf[to] += shares;
        emit Transfer(from, to, value);
    }
}
