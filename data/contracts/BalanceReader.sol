// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// Reads the balances of many accounts, in the native coin and in tokens, in one `eth_call` at one block. It is never deployed: the
/// call's third parameter (state override) lays the runtime code at an address of the caller's choice for the time of that call.
/// (A constructor could not do it: what it returns may be no longer than 24,576 bytes, its code and arguments 49,152.)
///
/// Input, packed, without a selector: 4 bytes, the number n of accounts, big-endian; n accounts of 20 bytes; then tokens of 20
/// bytes to the end.
///
/// Output, 32-byte words: n words, the accounts' native balances in order; then for each token in order, for each account in order,
/// two words, status and value:
///   0: the token has no code at this block, the balance is 0
///   1: `balanceOf` answered with at least 32 bytes, the first of which are the value
///   2: the call failed, answered with less, or wanted more than 200,000 gas: the balance is unknown, the value is 0
/// When the gas of the whole call nears its end, the output stops there: what was read is right, the rest is to be asked for again.
/// A malformed input reverts.
///
/// Each token call gets 200,000 gas (a plain `balanceOf` takes 3,000) and can hand back 32 bytes, so that a
/// hostile token costs no more than that, and gives nothing but a wrong balance of its own.
contract BalanceReader {
    fallback() external {
        assembly {
            // memory: 0..35 input of a token call, 64..95 its output, from 128 the result
            let result := 128
            let end := result
            let tokens := add(4, mul(shr(224, calldataload(0)), 20))
            if or(lt(calldatasize(), tokens), mod(sub(calldatasize(), tokens), 20)) { revert(0, 0) }

            for { let a := 4 } lt(a, tokens) { a := add(a, 20) } {
                if lt(gas(), 20000) { return(result, sub(end, result)) }
                mstore(end, balance(shr(96, calldataload(a))))
                end := add(end, 32)
            }

            mstore(0, shl(224, 0x70a08231)) // balanceOf(address)
            for { let t := tokens } lt(t, calldatasize()) { t := add(t, 20) } {
                let token := shr(96, calldataload(t))
                let code := extcodesize(token)
                for { let a := 4 } lt(a, tokens) { a := add(a, 20) } {
                    // a call can be given 63/64 of what is left: that must be 200,000, with something over for what follows
                    if lt(gas(), 220000) { return(result, sub(end, result)) }
                    let status := 0
                    let value := 0
                    if code {
                        mstore(4, shr(96, calldataload(a)))
                        status := 2
                        let ok := staticcall(200000, token, 0, 36, 64, 32)
                        if and(ok, gt(returndatasize(), 31)) {
                            status := 1
                            value := mload(64)
                        }
                    }
                    mstore(end, status)
                    mstore(add(end, 32), value)
                    end := add(end, 64)
                }
            }
            return(result, sub(end, result))
        }
    }
}
