// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

interface Erc20 {
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// Passes coins on from inside a transaction. What it is for: native movements that no transaction's `to` and `value` show, and
/// no event names. What is not paid on stays in the router, and a later `pay` can spend it.
contract Router {
    event Reverted(address to, uint256 value);

    receive() external payable {}

    /// Pays each receiver by an internal call.
    function pay(address payable[] calldata to, uint256[] calldata amounts) external payable {
        require(to.length == amounts.length, "lengths differ");
        for (uint256 i = 0; i < to.length; i++) {
            send(to[i], amounts[i]);
        }
    }

    /// A nested frame pays `to` and then reverts, the transaction succeeds: `to` gets nothing, the value stays here.
    function payThenRevertInner(address payable to) external payable {
        try this.payAndRevert{value: msg.value}(to) {}
        catch {
            emit Reverted(to, msg.value);
        }
    }

    function payAndRevert(address payable to) external payable {
        send(to, msg.value);
        revert("on purpose");
    }

    /// Creates a child with the value, which destroys itself within the same transaction, to the benefit of `to`.
    function destroyInto(address payable to) external payable {
        new Child{value: msg.value}().destroy(to);
    }

    /// Creates a child with the value and leaves it there: `Child.destroy` in a later transaction pays the value out too, and
    /// since the Cancun hardfork leaves the code in place.
    function create() external payable returns (address) {
        return address(new Child{value: msg.value}());
    }

    /// Moves the caller's tokens, which the caller has allowed this contract to spend.
    function payToken(Erc20 token, address[] calldata to, uint256[] calldata amounts) external {
        require(to.length == amounts.length, "lengths differ");
        for (uint256 i = 0; i < to.length; i++) {
            require(token.transferFrom(msg.sender, to[i], amounts[i]), "token refused");
        }
    }

    function send(address payable to, uint256 amount) private {
        (bool paid,) = to.call{value: amount}("");
        require(paid, "ether refused");
    }
}

/// What `Router.destroyInto` creates.
contract Child {
    constructor() payable {}

    function destroy(address payable to) external {
        selfdestruct(to);
    }
}
